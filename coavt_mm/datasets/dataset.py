"""The one data set class, on the one manifest format."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose, force_full_init
from mmengine.logging import print_log

from coavt_mm.datasets.bad_clips import BadClips
from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    leave_out,
    nearest,
    read_list,
    read_sidecar,
    split_missing,
)
from coavt_mm.datasets.manifest_index import IndexedRows, index_manifest
from coavt_mm.datasets.random_states import random_state
from coavt_mm.datasets.samplers import SampleRequest, as_request
from coavt_mm.datasets.transforms.video import build_transforms
from coavt_mm.errors import (
    ClipError,
    ConfigError,
    DatasetMissingError,
    ManifestError,
    shown,
)
from coavt_mm.registry import DATASETS
from coavt_mm.streams import CAPTION_FIELDS


def _check_choice(name: str, value: str, choices: tuple[str, str]) -> None:
    if value not in choices:
        raise ConfigError(
            f'{name}={value!r} is neither {choices[0]!r} nor {choices[1]!r}'
        )


def _check_one_manifest(ann_file: str) -> None:
    if isinstance(ann_file, list | tuple):
        raise ConfigError(
            f'ann_file={[*ann_file]}: a data set has one manifest; several are '
            "dict(type='ConcatDataset', datasets=[...]), see docs/data.md"
        )


@DATASETS.register_module()
class AVTDataset(BaseDataset):
    """Clips with sound, picture and text, from a manifest (see ``manifest.py``).

    An item is asked for by an index, or by a sampler's ``SampleRequest``: its seed then
    fixes every random choice made for the sample, whatever worker makes it, and its
    epoch and stage reach the transforms as ``results['epoch']``, ``results['stage']``.

    ``metainfo`` has the keys protocol, manifest, hash, clips, captions, missing (the
    sidecar's number plus the clips not on disk), missing_ids, excluded, classes and
    ceilings.

    Args:
        ann_file: The manifest, relative to ``data_root`` or absolute.
        data_root: Folder that relative paths start from.
        pipeline: The transforms.
        classes: Class names or a file with one per line; rows get ``gt_label`` (list of
            indices). Default: the sidecar's.
        other_labels: Labels that are none of the ``classes``: 'raise', or 'drop' to
            classify among some of the classes only.
        exclude: Files with ids, one a line, to leave out.
        missing: Clips whose files are not on disk: 'raise' or 'skip' (left out,
            counted, logged once with their ids).
        check_files: Look for all files at load. Default: at test. In training a missing
            file is found when it is drawn.
        on_error: Clips that can't be decoded: 'raise' (default at test) or 'skip'
            (default in training: another clip is drawn; id and reason are logged once
            and counted). At test 'skip' gives a sample without sound and picture whose
            metainfo has ``error``, so that a metric counts it as missing.
        max_bad_share: 'skip' stops with a ClipError when more than this share of at
            least 100 draws was bad.
        protocol: Name of the evaluation protocol. Default: the sidecar's, else the
            manifest's stem.
        how_to_get: What the error for a missing manifest tells the user to do.
        test_mode: Whether samples are for evaluation.
        **kwargs: Those of mmengine's BaseDataset, such as ``indices`` and
            ``lazy_init``.
    """

    _has_manifest = True  # and no other list of clips

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        pipeline: Sequence[dict | Callable] = (),
        *,
        classes: Sequence[str] | str | None = None,
        other_labels: str = 'raise',
        exclude: str | Sequence[str] = (),
        missing: str = 'raise',
        check_files: bool | None = None,
        on_error: str | None = None,
        max_bad_share: float = 0.05,
        protocol: str | None = None,
        how_to_get: str = '',
        test_mode: bool = False,
        **kwargs,
    ):
        _check_one_manifest(ann_file)
        _check_choice('missing', missing, ('raise', 'skip'))
        _check_choice('on_error', on_error or 'raise', ('raise', 'skip'))
        _check_choice('other_labels', other_labels, ('raise', 'drop'))
        self.classes = read_list(classes) if isinstance(classes, str) else classes
        self.other_labels = other_labels
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)
        self.missing = missing
        self.check_files = test_mode if check_files is None else check_files
        self.on_error = on_error or ('raise' if test_mode else 'skip')
        self.max_bad_share = max_bad_share
        self.protocol = protocol
        self.how_to_get = how_to_get
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            test_mode=test_mode,
            **kwargs,
        )
        # after the manifest: who lacks both hears of the data, not of a tokenizer
        self.pipeline = Compose(build_transforms(pipeline))

    def load_data_list(self) -> Sequence[dict]:
        """Read the manifest, leaves out what is excluded or missing, and fill
        ``metainfo``."""
        if (indexed := self._indexed_rows()) is not None:
            return indexed
        rows, about = self._read_rows()
        kept = leave_out(rows, self.exclude, self.ann_file)
        here, gone = self._split_missing(kept) if self.check_files else (kept, [])
        self._report_missing(here, gone)
        self._note(about, gone, len(rows) - len(kept))
        if self.classes:
            self._add_label_indices(here, self.classes)
        self._count_clips(here)
        return here

    def _indexed_rows(self) -> IndexedRows | None:
        """The rows of a long manifest that are all taken as they are, or None."""
        if self.exclude or self.check_files or not self._has_manifest:
            return None
        path = find_manifest(self.ann_file, self.how_to_get)
        if (index := index_manifest(path)) is None:
            return None
        about = self._about(path, len(index.starts), index.hash)
        classes = self.classes or about.get('classes')
        if classes and self.other_labels == 'raise' and index.labels - {*classes}:
            return None
        self._note(about)
        self._metainfo.update(clips=len(index.starts), captions=index.captions)
        self.serialize_data = False  # the file is shared by all processes as it is
        label = partial(self._add_label_indices, classes=classes) if classes else None
        return IndexedRows(path, self.data_root or '', index.starts, label)

    def _note(self, about: dict, gone: Sequence[dict] = (), excluded: int = 0) -> None:
        self.classes = self.classes or about.get('classes')
        self._metainfo.update(
            protocol=self.protocol or about['protocol'],
            manifest=about['manifest'],
            hash=about['hash'],
            missing=about.get('missing', 0) + len(gone),
            missing_ids=about.get('missing_ids', [])
            + [row['sample_id'] for row in gone],
            excluded=excluded,
            classes=self.classes,
            ceilings=about.get('ceilings'),
        )

    def _read_rows(self) -> tuple[list[dict], dict]:
        """The rows, and what is known of them: the sidecar's keys, manifest, hash."""
        path = find_manifest(self.ann_file, self.how_to_get)
        rows = list(iter_manifest(path, self.data_root or ''))
        if not rows:
            raise ManifestError(f'{path}: the manifest has no rows')
        return rows, self._about(path, len(rows), content_hash(path))

    def _about(self, path: Path, rows: int, content: str) -> dict:
        about = dict(read_sidecar(path), manifest=str(path), hash=content)
        written = about.get('clips')
        if written is not None and written > rows:
            message = f'{path}: {rows} rows, its .meta.json says {written}: '
            message += 'it was cut short, or rows were taken out since then'
            print_log(shown(message), logger='current', level=logging.WARNING)
        about['protocol'] = about.get('protocol') or path.stem
        return about

    def _split_missing(self, rows: list[dict]) -> tuple[list[dict], list[dict]]:
        return split_missing(rows)

    def _count_clips(self, rows: Iterable[dict]) -> None:
        counts = [sum(len(row[f]) for f in CAPTION_FIELDS) for row in rows]
        self._metainfo.update(clips=len(counts), captions=sum(counts))

    def full_init(self) -> None:
        """Load the rows and counts what is left of them."""
        if self._fully_initialized:
            return
        super().full_init()
        if self._indices is not None:
            self._count_clips(self.get_data_info(i) for i in range(len(self)))
        self._bad = BadClips(torch.zeros(len(self), dtype=torch.bool))
        self._left_out: dict[str, str] = {}

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep some of the rows, see mmengine; what is known as bad stays known."""
        bad = self._bad.among(indices)
        super().get_subset_(indices)
        self._restart_with(bad)

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> 'AVTDataset':
        """A data set of some of the rows, with counters of its own."""
        subset = super().get_subset(indices)
        subset._restart_with(self._bad.among(indices))
        return subset

    def _copy_without_annotation(self, memo: dict | None = None) -> 'AVTDataset':
        # mmengine 0.10.7 has a mutable default: one memo for all subsets of a process,
        # which knows copies of objects whose ids have long gone to others
        return super()._copy_without_annotation({} if memo is None else memo)

    def _restart_with(self, bad: BadClips) -> None:
        self._count_clips(self.get_data_info(i) for i in range(len(self)))
        self._bad = bad

    def _report_missing(self, here: list[dict], gone: list[dict]) -> None:
        if not gone and here:
            return
        message = self._describe_missing(len(here) + len(gone), gone)
        if self.missing == 'raise' or not here:
            hint = self.how_to_get or "set missing='skip' to go on without them"
            raise DatasetMissingError(f'{message}; {hint}')
        print_log(shown(message), logger='current', level=logging.WARNING)

    def _describe_missing(self, total: int, gone: list[dict]) -> str:
        ids = ', '.join(row['sample_id'] for row in gone[:20])
        more = f' and {len(gone) - 20} more' if len(gone) > 20 else ''
        return (
            f'{self.ann_file}: {len(gone)} of {total} clips are not on disk under '
            f'{self.data_root or "the working directory"}: {ids}{more}'
        )

    def _add_label_indices(self, rows: list[dict], classes: Sequence[str]) -> None:
        index_of = {name: index for index, name in enumerate(classes)}
        for row in rows:
            if self.other_labels == 'drop':
                row['labels'] = [x for x in row['labels'] if x in index_of]
            for label in row['labels']:
                if label not in index_of:
                    raise ManifestError(
                        f"{self.ann_file}: clip {row['sample_id']}: label '{label}' is "
                        f'not among the {len(index_of)} classes'
                        f'{nearest(label, classes)}'
                    )
            row['gt_label'] = [index_of[label] for label in row['labels']]

    @property
    def bad_ids(self) -> list[str]:
        """Ids of the clips found bad so far, by any worker of this process."""
        return [self.get_data_info(i)['sample_id'] for i in self._bad.indices]

    def read_by(self, pids: Collection[int]) -> list[str]:
        """Ids of the clips that processes are reading, or died over."""
        found = self._bad.read_by(pids) if self._fully_initialized else []
        return [self.get_data_info(index)['sample_id'] for index in found]

    @force_full_init
    def leave_out(self, ids: Collection[str], why: str) -> list[str]:
        """Take clips for ones that can't be read, if such are skipped.

        Args:
            ids: Theirs; those of other data sets may be among them.
            why: The reason that is told where one is asked for.

        Returns:
            Ids of those that are here.
        """
        if self.on_error != 'skip':
            return []
        here = (self.get_data_info(i)['sample_id'] for i in range(len(self)))
        self._left_out = {name: why for name in here if name in ids}
        return [*self._left_out]

    @force_full_init
    def __getitem__(self, item: int | tuple | list) -> dict:
        """Make a sample.

        Args:
            item: Index, or a sampler's request.

        Raises:
            ClipError: The clip is bad and must not be skipped, or too many are.
            DatasetMissingError: Its file is not on disk and must not be skipped.
        """
        request = as_request(item)
        if self.on_error == 'skip' and not self.test_mode:
            return self._sample_or_another(request)
        with random_state(request.seed):
            if self.on_error == 'skip':
                return self._sample_or_empty(request.index)
            return self.prepare_data(request.index, request.epoch, request.stage)

    def prepare_data(
        self, idx: int, epoch: int | None = None, stage: dict | None = None
    ) -> dict:
        """Run the pipeline on a row; transforms are told epoch and stage, if known."""
        row = self.get_data_info(idx)
        row |= {} if epoch is None else dict(epoch=epoch)
        row |= {} if stage is None else dict(stage=stage)
        if why := self._left_out.get(row['sample_id']):
            raise ClipError(f'clip {row["sample_id"]}: {why}')
        try:
            with self._bad.noted(idx):
                sample = self.pipeline(self._opened(row))
        except ClipError as error:
            if self.missing == 'raise' and self._split_missing([row])[1]:
                rows = [self.get_data_info(i) for i in range(len(self))]
                self._report_missing(*self._split_missing(rows))
            raise ClipError(f'clip {row["sample_id"]}: {error}') from error
        except StopIteration as error:  # a loader would take it for the end of the data
            raise ClipError(
                f'clip {row["sample_id"]}: a transform ended with StopIteration'
            ) from error
        if sample is None:
            raise ClipError(
                f'clip {row["sample_id"]}: a transform returned None, not its results'
            )
        return sample

    def _opened(self, row: dict) -> dict:
        """The row as the pipeline takes it."""
        return row

    def _sample_or_another(self, request: SampleRequest) -> dict:
        """Training: the clip, or the first good one of others drawn at random.

        The others follow from the seed alone, not from what a worker knows already to
        be bad, so that a run can be repeated.
        """
        index, seed, epoch = request
        others = np.random.default_rng(
            np.random.randint(2**31) if seed is None else seed
        )
        while True:
            try:
                if index not in self._bad:
                    with random_state(seed):
                        sample = self.prepare_data(index, epoch, request.stage)
                    self._bad.count(good=True)
                    return sample
            except ClipError as error:
                self._note_bad(index, error)
            self._bad.count(good=False)
            self._check_share()
            index = int(others.integers(len(self)))
            seed = None if seed is None else int(others.integers(2**32))

    def _sample_or_empty(self, index: int) -> dict:
        """Test: the clip, without sound and picture when it can't be read."""
        try:
            return self.prepare_data(index)
        except ClipError as error:
            self._note_bad(index, error)
            row = self.get_data_info(index)
            row.update(clip_path=None, audio_path=None, error=str(error))
            return self.pipeline(row)

    def _note_bad(self, index: int, error: ClipError) -> None:
        if self._bad.add(index):
            message = shown(f'skipped {error}')
            print_log(message, logger='current', level=logging.WARNING)

    def _check_share(self) -> None:
        counts = self._bad.too_many(self.max_bad_share)
        if counts is not None:
            draws, bad = counts
            raise ClipError(
                f'{self.ann_file}: {bad} of {draws} clips drawn could not be read, '
                f'more than max_bad_share={self.max_bad_share:g}: '
                f'{len(self.bad_ids)} different ones, such as '
                f'{", ".join(self.bad_ids[:5])} (the log has the reasons)'
            )
