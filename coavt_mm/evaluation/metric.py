"""What all metrics have in common: clips are checked, numbers shown and written."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import print_log
from torch import Tensor

from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.errors import ClipError, CoAVTError, ConfigError, shown
from coavt_mm.texts import in_markdown
from coavt_mm.visualization import DIRECTION_TITLES, save_figure
from coavt_mm.visualization.sound_view import log_mel

#: What a record keeps of every clip: who it is, and where its frames are.
KEPT = ('sample_idx', 'sample_id', 'clip_path', 'start', 'end', 'frame_times', 'error')
RATE = 16000  # Hz, of sound that is drawn
#: Direction of retrieval -> how tables call it.
ARROWS = {name: title.replace('→', '->') for name, title in DIRECTION_TITLES.items()}


class ReportingMetric(BaseMetric):
    """A metric that leaves a report: nested numbers, a table of them, figures.

    A child says what it keeps of a prediction (:meth:`record`, :meth:`check`), what it
    makes of all records (:meth:`score`, :meth:`report`) and how that looks
    (:meth:`table`, :meth:`figures`, :meth:`numbers`). A clip that arrives twice or not
    at all is an error, and one that could not be read counts as missing.

    Args:
        out_dir: Where ``<name>.json``, ``<name>.md`` and the figures go; None saves
            nothing.
        plots: Save the figures as well.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        name: Of the metric in its report, and of the report's files.
        checkpoint: Whose numbers these are, for the report; ShareModelHook sets it.
        precision: In which the predictions were made, likewise; the loop sets it.
        last_results: The report of the last evaluation (main process).
    """

    name: str

    def __init__(
        self, out_dir: str | None = None, plots: bool = False, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if plots and out_dir is None:
            raise ConfigError('plots=True needs an out_dir to save them in')
        self.out_dir, self.plots = out_dir, plots
        self.checkpoint: str | None = None
        self.precision: str | None = None
        self.last_results: dict | None = None
        self._size: int | None = None

    @property
    def needs_tokens(self) -> bool:
        """Whether predictions must have ``tokens``; ShareModelHook sees to it."""
        return False

    def record(self, sample: dict) -> dict:
        """Take from a prediction what is scored, on the CPU."""
        raise NotImplementedError

    def check(self, record: dict) -> None:
        """Refuse a record that can't be scored.

        Raises:
            CoAVTError: The message names the clip.
        """

    def score(self, records: list[dict]) -> Any:
        """Make of all records what report and figures need; the records themselves."""
        return records

    def report(self, scored: Any) -> dict:
        """The nested numbers, beside those of :meth:`describe`."""
        raise NotImplementedError

    def numbers(self, report: dict) -> dict:
        """The part of a report that mmengine logs, nested; None is left out."""
        raise NotImplementedError

    def table(self, report: dict) -> str:
        """What is printed, and written as Markdown; '' for nothing."""
        return ''

    def figures(self, report: dict, scored: Any) -> dict[str, Figure]:
        """Figures by the name of their file."""
        return {}

    def describe(self, records: list[dict]) -> dict:
        """Say what was evaluated; see :func:`describe_clips`."""
        return describe_clips(self.dataset_meta, records)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of a batch of predictions."""
        for sample in data_samples:
            kept = {key: sample.get(key) for key in KEPT}
            record = {**kept, **self.record(sample)}
            self.check(record)
            self.results.append(record)

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``.

        Raises:
            CoAVTError: If a clip is there twice, or not at all.
        """
        check_samples(results, self._size)
        for record in results:
            self.check(record)
        scored = self.score(results)
        about = {'metric': self.name, **self.describe(results)}
        about |= {'checkpoint': self.checkpoint} if self.checkpoint else {}
        about |= {'precision': self.precision} if self.precision else {}
        report = {**about, **self.report(scored)}
        self.last_results = report
        table = self.table(report)
        if table:
            print_log('\n' + table, logger='current')
        self.write(report, scored, table)
        if self.plots and self.out_dir is not None:
            for name, figure in self.figures(report, scored).items():
                save_figure(figure, Path(self.out_dir) / f'{name}.png')
        return flat_metrics(self.numbers(report))

    def write(self, report: dict, scored: Any, table: str) -> None:
        """Write the report and its table into ``out_dir``, if there is one."""
        self.write_json(f'{self.name}.json', report)
        if self.out_dir and table:
            (Path(self.out_dir) / f'{self.name}.md').write_text(table, 'utf-8')

    def write_json(self, name: str, content: Any, indent: int | None = 2) -> None:
        """Write one file into ``out_dir``, if there is one."""
        if self.out_dir:
            Path(self.out_dir).mkdir(parents=True, exist_ok=True)
            dump(content, Path(self.out_dir) / name, indent=indent)


def flat_metrics(nested: dict, prefix: str = '') -> dict[str, float]:
    """Join the keys of nested numbers by '/'; None is left out."""
    return dict(_walk(nested, prefix))


def _walk(nested: dict, prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from _walk(value, f'{prefix}{key}/')
        elif value is not None:
            yield f'{prefix}{key}', value


def heading(report: dict, *more: str) -> str:
    """One line that says what was evaluated; every number is reported with it.

    Args:
        report: What :func:`describe_clips` gives, and perhaps ``captions``.
        more: Further keys of the report, at the end.
    """
    precision = report.get('precision', 'float32')
    facts = {
        'protocol': report['protocol'] or 'not named',
        'manifest': report['manifest'] or 'not named',
        'hash': (report['manifest_hash'] or 'none')[:12],
        **{
            key: report[key]
            for key in ('clips', 'captions', 'references')
            if key in report
        },
        'missing': 'not stated' if report['missing'] is None else report['missing'],
        **({'texts cut': report['cut_texts']} if report.get('cut_texts') else {}),
        **{key: report[key] for key in more},
        **({} if precision == 'float32' else {'precision': precision}),
    }
    return ', '.join(f'{name} {in_markdown(value)}' for name, value in facts.items())


def cells(numbers: dict, names: Iterable[str]) -> list[str]:
    """One decimal for each number of a row, '-' for what is not there."""
    values = [numbers.get(name) for name in names]
    return ['-' if value is None else f'{value:.1f}' for value in values]


def draw_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are padded, so that a terminal can show it."""
    rows = [[in_markdown(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    rows.insert(1, ['-' * width for width in widths])
    padded = [map(str.ljust, row, widths) for row in rows]
    return ''.join(f'| {" | ".join(row)} |\n' for row in padded)


def check_samples(records: list[dict], size: int | None) -> None:
    """Refuse records of which some are there twice, or not at all.

    Args:
        records: One dict per clip with ``sample_idx`` and ``sample_id``.
        size: Length of the data set; None where nobody knows it.

    Raises:
        CoAVTError: The message says which clip, and how to sample rightly.
    """
    seen = set()
    for record in records:
        index, name = record['sample_idx'], record['sample_id']
        if (key := name if index is None else index) in seen:
            raise CoAVTError(
                f'sample {name!r} was counted twice; evaluate with '
                "mmengine's DefaultSampler(shuffle=False, round_up=True)"
            )
        seen.add(key)
    if size is not None and len(records) != size:
        raise CoAVTError(
            f'{len(records)} of {size} samples arrived at the metric; '
            'evaluate with drop_last=False and DefaultSampler(shuffle=False)'
        )


def check_finite(tensor: Tensor, key: str, sample_id: str | None) -> None:
    """Refuse a tensor of a clip that holds NaN or inf.

    Raises:
        CoAVTError: The message names tensor and clip.
    """
    if not tensor.isfinite().all():
        raise CoAVTError(
            f'{key} of sample {sample_id!r} holds NaN or inf; a number of it would be '
            'meaningless. Look at the clip, or at the checkpoint it came from'
        )


def describe_clips(meta: dict | None, records: list[dict]) -> dict:
    """Say what was evaluated; a clip that could not be read counts as missing.

    Args:
        meta: The data set's ``metainfo``.
        records: One dict per clip with ``sample_id`` and ``error`` (None: it is whole).

    Returns:
        ``protocol``, ``manifest``, ``manifest_hash``, ``clips`` and ``missing`` (None
        where the data set does not state it), ``cut_texts`` if a text was too long.
    """
    meta = meta or {}
    broken = [record['sample_id'] for record in records if record['error']]
    warn_of(broken, 'could not be read and count as missing')
    missing = meta.get('missing')
    return {
        'protocol': meta.get('protocol'),
        'manifest': meta.get('manifest'),
        'manifest_hash': meta.get('manifest_hash', meta.get('hash')),
        'clips': len(records) - len(broken),
        'missing': (missing or 0) + len(broken) if missing or broken else missing,
        **({'cut_texts': meta['cut_texts']} if meta.get('cut_texts') else {}),
    }


def warn_of(clips: Sequence[str], what: str) -> None:
    """Log how many clips something is wrong with, and the names of the first 20."""
    if clips:
        named = ', '.join(map(str, clips[:20]))
        message = f'{len(clips)} clips {what}: {named}'
        print_log(shown(message), logger='current', level=logging.WARNING)


def middle_frame(sample: dict) -> np.ndarray | None:
    """Decode the frame in the middle of a clip.

    Args:
        sample: ``clip_path`` and either ``frame_times`` or ``start`` and ``end``, in s.

    Returns:
        (H, W, 3) uint8 RGB, or None where the clip has no frames.
    """
    path = sample.get('clip_path')
    if path is None:
        return None
    times = sample.get('frame_times')
    if times is not None and len(times):
        time = float(times[len(times) // 2])
    else:
        start = sample.get('start') or 0.0
        time = (start + (sample.get('end') or start)) / 2
    try:
        frames, _ = read_frames(path, [time])
    except ClipError as error:
        message = f'the contact sheet shows no picture of {path}: {error}'
        print_log(shown(message), logger='current', level=logging.WARNING)
        return None
    return frames[0]


def spectrogram(sample: dict) -> np.ndarray | None:
    """Decode the sound of a clip, for a picture of it.

    Args:
        sample: ``clip_path``, ``start`` and ``end``, in s.

    Returns:
        (L, M) log-mel energies, or None where the clip has no sound.
    """
    path = sample.get('clip_path')
    if path is None:
        return None
    try:
        sound = read_audio(path, sample.get('start') or 0.0, sample.get('end'), RATE)
    except ClipError as error:
        message = f'the contact sheet shows no sound of {path}: {error}'
        print_log(shown(message), logger='current', level=logging.WARNING)
        return None
    return None if sound is None else log_mel(sound, RATE)
