"""The routine behind the prepare tools: find, check, write manifests and a report."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from coavt_mm.datasets.captions import shared_captions
from coavt_mm.datasets.manifest import write_manifest
from coavt_mm.datasets.reading import printable
from coavt_mm.errors import ConfigError, DatasetMissingError
from coavt_mm.preparation.checking import Task, check_clip
from coavt_mm.preparation.journal import read_journal
from coavt_mm.preparation.layouts import ClipIndex, FolderIndex
from coavt_mm.preparation.on_ray import run_on_ray, some_files
from coavt_mm.preparation.processes import Died, run_each
from coavt_mm.preparation.report import write_report
from coavt_mm.preparation.settings import SOUNDS, UNUSABLE
from coavt_mm.preparation.sources import ListedClip

Splits = Mapping[str, Sequence[ListedClip]]

JOURNAL = 'journal.jsonl'


def _check(task: Task) -> dict:
    try:
        return check_clip(task)
    except MemoryError:
        return dict(problems=['unreadable'], reason='out of memory')


def check_all(
    tasks: Sequence[Task], journal: Path, workers: int, ray_address: str | None = None
) -> dict[str, dict]:
    """Check clips in parallel, with a progress bar; each result goes into the
    journal at once, and what is there already isn't done again.

    Args:
        tasks: The clips.
        journal: JSON lines [key, result].
        workers: Processes; a clip over which one dies is unreadable. 0: none, a decoder
            that crashes takes this one along.
        ray_address: A Ray cluster that does the work instead, see ``run_on_ray``.

    Returns:
        Key of a task -> result of ``check_clip``.
    """
    results = read_journal(journal)
    todo = {task.key(): task for task in tasks}
    todo = {key: task for key, task in todo.items() if key not in results}
    if ray_address is None:
        checked = run_each(_check, todo, workers)
    else:
        files = some_files(p for t in todo.values() for p in (t.clip, t.audio) if p)
        checked = run_on_ray(_check, todo, ray_address, files=files)
    # closing: an interruption must not wait for what the pool still has to do
    with (
        closing(checked) as done,
        open(journal, 'a', encoding='utf-8') as file,
    ):
        if file.tell():
            file.write('\n')  # ends a line that was cut off
        bar = tqdm(total=len(todo), desc='checking clips', unit='clip', mininterval=1.0)
        with bar:
            for key, result in done:
                if isinstance(result, Died):
                    reason = f'the process that read it died ({result})'
                    result = dict(problems=['unreadable'], reason=reason)
                file.write(json.dumps([key, result]) + '\n')
                file.flush()
                results[key] = result
                bar.update()
    return results


def mark_duplicates(found: Sequence[dict]) -> None:
    """Add the problem 'duplicate' to results whose content and span an earlier one
    has as well, and ``duplicate_of``, its id."""
    first: dict[tuple, str] = {}
    for result in found:
        if 'hash' in result:
            same = (result['hash'], result['start'], result['end'])
            other = first.setdefault(same, result['id'])
            if other != result['id']:
                result['problems'] = [*result['problems'], 'duplicate']
                result['duplicate_of'] = other


def manifest_row(clip: ListedClip, result: dict, root: Path) -> dict:
    """A row of the manifest; paths below its folder ``root`` become relative."""

    def place(path: str) -> str:
        full = Path(os.path.abspath(path))
        return str(full.relative_to(root) if full.is_relative_to(root) else full)

    task = result['task']
    row = dict(id=clip.clip_id, clip=task.clip and place(task.clip))
    if task.audio:
        row['audio'] = place(task.audio)
    if result['start']:
        row['start'] = result['start']
    if result['end'] is not None:
        row['end'] = result['end']
    for key in ('captions', 'audio_captions', 'visual_captions', 'labels'):
        if getattr(clip, key):
            row[key] = getattr(clip, key)
    return row


def _find(
    splits: Splits, index: ClipIndex | FolderIndex, dataset: str, settings: dict
) -> dict[str, list[Task | None]]:
    """What to check of each clip of each split; None where there's no file."""
    tasks: dict[str, list[Task | None]] = {}
    if not splits:
        raise ConfigError(f'{dataset}: the list has no clips')
    for split, group in splits.items():
        if not group:
            raise ConfigError(f'the list of {split} has no clips')
        if not split or Path(split).name != split or split.lower() == 'journal':
            raise ConfigError(f"a split can't be named '{split}'; rename it")
        tasks[split] = [
            found and Task(*found, clip.start, clip.end, **settings)
            for clip, found in zip(group, map(index.find, group), strict=True)
        ]
    if not any(task for group in tasks.values() for task in group):
        first = next(iter(splits.values()))[0]
        raise DatasetMissingError(
            f'{dataset}: not one of the listed clips is in the folders given; a file '
            f"of '{first.source}' is known by names such as {first.source}.mp4 and "
            f'{first.clip_id}.mp4, in any folder below'
        )
    return tasks


def _merge(
    clips: Sequence[ListedClip], tasks: Sequence[Task | None], results: dict
) -> list[dict]:
    """Results in the order of the list, with ``id`` and ``task``."""
    found = [
        dict(results[task.key()], id=clip.clip_id, task=task)
        if task
        else dict(id=clip.clip_id, problems=['missing'])
        for clip, task in zip(clips, tasks, strict=True)
    ]
    mark_duplicates(found)
    return found


def _sound_check(checkpoint: str | None) -> Callable[[Sequence[dict]], None]:
    """What asks a model of each clip of a split; nothing where none is given."""
    if checkpoint is None:
        return lambda found: None
    from coavt_mm.preparation.sounds import check_sounds, load_judge

    return partial(check_sounds, load_judge(checkpoint))


def prepare(
    splits: Splits,
    index: ClipIndex | FolderIndex,
    out_dir: str | Path,
    *,
    dataset: str,
    classes: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    drop: Sequence[str] = (),
    workers: int = 1,
    ray_address: str | None = None,
    sound_model: str | None = None,
    **settings,
) -> dict:
    """Write ``<split>.jsonl`` with a sidecar for each split, ``report.json`` and
    ``report.md``.

    Clips that are missing, unreadable or too short are left out and counted as
    missing in the sidecar; the other problems are reported, and left out by ``drop``.

    Args:
        splits: Name of a split -> its listed clips.
        index: Where the files are.
        out_dir: Folder to write to, ``data_root`` in the config.
        dataset: Name for the report and the protocols.
        classes: Class names, for the sidecars.
        notes: What else the report says, a line each.
        drop: More of ``PROBLEMS`` that leave a clip out.
        workers: Processes, see ``check_all``.
        ray_address: A Ray cluster that checks the clips instead.
        sound_model: Checkpoint of a model that says whether sound and picture belong
            together, see :func:`~coavt_mm.preparation.sounds.check_sounds`; the two
            further problems that it finds may be among ``drop``.
        **settings: Those of ``Task``: min_seconds, silence_dbfs, decode, timeout.

    Returns:
        The report.

    Raises:
        ConfigError: A list is empty, a split's name is no file's name, the model can't
            compare sound with picture, or there is no cluster.
        DatasetMissingError: Not one clip was found.
    """
    tasks = _find(splits, index, dataset, settings)
    ask = _sound_check(sound_model)
    out_dir = Path(os.path.abspath(os.path.expanduser(out_dir)))
    out_dir.mkdir(parents=True, exist_ok=True)
    there = [task for group in tasks.values() for task in group if task]
    results = check_all(there, out_dir / JOURNAL, workers, ray_address)
    unwanted = {*UNUSABLE, *drop}
    report: dict[str, Any] = dict(dataset=dataset, notes=[*notes], splits={})
    for split, group in splits.items():
        found = _merge(group, tasks[split], results)
        ask(found)
        rows = [
            manifest_row(clip, result, out_dir)
            for clip, result in zip(group, found, strict=True)
            if not unwanted & set(result['problems'])
        ]
        sidecar: dict[str, Any] = dict(
            protocol=f'{dataset}-{split}', missing=len(group) - len(rows)
        )
        if classes:
            sidecar['classes'] = list(classes)
        digest = write_manifest(out_dir / f'{split}.jsonl', rows, sidecar)
        report['splits'][split] = summarise(found, rows, digest)
    write_report(report, out_dir)
    return report


def summarise(found: Sequence[dict], rows: Sequence[dict], digest: str) -> dict:
    """What the report says of a split: counts, and each problem with its ids."""
    problems: dict[str, dict[str, str]] = {}
    for result in found:
        for problem in result['problems']:
            reason = printable(result.get('reason', ''))
            if problem == 'duplicate':
                reason = f'same as {result["duplicate_of"]}'
            if problem in SOUNDS:
                reason = result['sound']['reason']
            problems.setdefault(problem, {})[result['id']] = reason
    missing = len(problems.get('missing', ()))
    sounds = {r['id']: r['sound'] for r in found if 'sound' in r}
    texts, clips = shared_captions(rows)
    return dict(
        listed=len(found),
        found=len(found) - missing,
        written=len(rows),
        hash=digest,
        shared_captions=texts,
        clips_with_shared_captions=clips,
        problems=problems,
        **(dict(sounds=sounds) if sounds else {}),
    )
