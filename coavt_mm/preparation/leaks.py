"""Clips of a training manifest that a test manifest has as well."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.logging import print_log

from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    split_missing,
)
from coavt_mm.datasets.reading import list_entry
from coavt_mm.preparation.protocols import recording


def _paths(row: dict) -> set[str]:
    return {row['clip_path'], row['audio_path']} - {None}


def _by_size(rows: Iterable[dict]) -> dict[int, list[tuple[str, str]]]:
    """Size in bytes -> (clip id, path) of the files that are there."""
    files = defaultdict(list)
    for row in rows:
        for path in filter(os.path.isfile, _paths(row)):
            files[os.path.getsize(path)].append((row['sample_id'], path))
    return files


def same_content(train: Sequence[dict], test: Sequence[dict]) -> dict[str, str]:
    """Id of a training clip -> id of a test clip whose file has the same bytes.

    Only files of equal size are read; how many clips have none on disk is logged.
    """
    for name, rows in (('train', train), ('test', test)):
        gone = len(split_missing(rows)[1])
        if gone:
            print_log(
                f'{gone} of {len(rows)} {name} clips are not on disk: their bytes '
                'were not compared',
                logger='current',
                level=logging.WARNING,
            )
    leaks: dict[str, str] = {}
    test_files = _by_size(test)
    for size, files in _by_size(train).items():
        others = {content_hash(Path(p)): name for name, p in test_files.get(size, ())}
        for name, path in files if others else ():
            other = others.get(content_hash(Path(path)))
            if other is not None:
                leaks[name] = other
    return leaks


def find_leaks(
    train: str | Path,
    test: str | Path,
    content: bool = False,
    train_root: str = '',
    test_root: str = '',
) -> dict[str, str]:
    """Find training clips that are cut from a recording of the test manifest.

    Ids are compared as recordings: 'abc', 'abc_000030' and 'Yabc_30' are the same
    when abc is a YouTube id.

    Args:
        train: The training manifest.
        test: The test manifest.
        content: Also compare the files' bytes.
        train_root: ``data_root`` of the training clips, for their files. Default: the
            manifest's folder.
        test_root: The same of the test clips.

    Returns:
        Id of a training clip -> id of a test clip, in the order of training.
    """
    train, test = find_manifest(train), find_manifest(test)
    train_rows = list(iter_manifest(train, train_root or train.parent))
    test_rows = list(iter_manifest(test, test_root or test.parent))
    tested = {recording(row['sample_id']): row['sample_id'] for row in test_rows}
    leaks = same_content(train_rows, test_rows) if content else {}
    for row in train_rows:
        other = tested.get(recording(row['sample_id']))
        if other is not None:
            leaks[row['sample_id']] = other
    return leaks


def write_exclusion_list(
    path: str | Path, leaks: dict[str, str], train: str | Path, test: str | Path
) -> None:
    """Write the ids for the option ``exclude`` of ``AVTDataset``, one a line."""
    lines = [
        f'# {len(leaks)} clips of {train} that are also in {test}',
        f'# hashes {content_hash(Path(train))} {content_hash(Path(test))}',
        *map(list_entry, leaks),
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('\n'.join(lines) + '\n', encoding='utf-8')
