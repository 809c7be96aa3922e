"""Classification as an mmengine metric."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    nearest,
    read_sidecar,
)
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.class_report import (
    flat_metrics,
    markdown_table,
    save_best_classes,
    save_class_plots,
    save_classification,
)
from coavt_mm.evaluation.class_scores import (
    TASKS,
    ceiling,
    class_scores,
    confusion,
    names_of_best,
)
from coavt_mm.evaluation.clips import check_samples, describe_clips
from coavt_mm.registry import METRICS


def class_mask(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(C,) bool, which classes are named.

    Raises:
        ConfigError: If a name is none of the classes.
    """
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ConfigError(
            f'{unknown[0]!r} is none of the {len(classes)} classes'
            f'{nearest(unknown[0], classes)}'
        )
    return np.isin(classes, names)


def label_matrix(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Indices of the labels of B clips -> (B, C) bool."""
    matrix = np.zeros((len(labels), classes), dtype=bool)
    for row, own in zip(matrix, labels, strict=True):
        row[list(own)] = True
    return matrix


def class_names_of(meta: dict | None, metric: str) -> list[str]:
    """Class names of the data set.

    Raises:
        ConfigError: If it has none.
    """
    classes = (meta or {}).get('classes')
    if not classes:
        raise ConfigError(
            f'{metric}: the data set names no classes; give it `classes`, or a '
            'manifest whose sidecar has them'
        )
    return list(classes)


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """mAP, mAUC and d' of labels, or accuracy of one class a clip.

    Multi-label (AudioSet): mAP, mAUC, d', average precision of each class.
    Single-label (VGGSound): top-1, top-5, mean-class accuracy, accuracy of each class
    and a confusion matrix. See :mod:`coavt_mm.evaluation.class_scores`.

    Takes predictions with ``pred_score`` (C,), ``pred_stream`` (the modalities it comes
    from) and ``gt_label``. A clip that has nothing to be scored on brings no
    ``pred_score``; it is left out, named in the log and counted as ``unscored``.

    Args:
        task: 'multi_label' or 'single_label'.
        relabels: Name -> manifest with other labels for clips of the same ids, such as
            ``dict(A='data/vggsound/vggsounder-a.jsonl')``: the same predictions are
            scored against each as well.
        sensed: Stream -> the classes that it can tell, for data with known answers;
            adds the numbers of a model that makes no mistake on these and knows
            nothing of the others.
        out_dir: Where classification.json, classification.md, best_classes.json (of
            single labels) and plots go; None saves nothing.
        plots: Save plots as well.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        last_results: The nested results of the last evaluation (main process).
    """

    default_prefix = 'classification'

    def __init__(
        self,
        task: str = 'multi_label',
        relabels: Mapping[str, str] | None = None,
        sensed: Mapping[str, Sequence[str]] | None = None,
        out_dir: str | None = None,
        plots: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if task not in TASKS:
            raise ConfigError(f'task {task!r} is none of {", ".join(TASKS)}')
        if plots and out_dir is None:
            raise ConfigError('plots=True needs an out_dir to save them in')
        self.task, self.out_dir, self.plots = task, out_dir, plots
        self.relabels, self.sensed = dict(relabels or {}), dict(sensed or {})
        self.last_results: dict | None = None
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep scores and labels of a batch of predictions."""
        self.results += [self._record(sample) for sample in data_samples]

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``."""
        check_samples(results, self._size)
        classes = class_names_of(self.dataset_meta, type(self).__name__)
        scored = self._scored(results)
        report = {
            'metric': 'classification',
            **describe_clips(self.dataset_meta, results),
            'unscored': sum(not r['error'] for r in results) - len(scored),
            'task': self.task,
            'streams': dict(Counter(record['stream'] for record in scored)),
            'classes': len(classes),
        }
        scores = np.stack([record['scores'] for record in scored])  # (B, C)
        if scores.shape[1] != len(classes):
            raise ConfigError(
                f'the model scores {scores.shape[1]} classes, the data set has '
                f'{len(classes)}; set head.num_classes'
            )
        labels = label_matrix([record['labels'] for record in scored], len(classes))
        report.update(self._numbers(scores, labels, classes))
        report['ceilings'] = self._ceilings(labels, classes)
        report['relabels'] = self._score_relabels(scored, classes)
        self._publish(report, scores, labels, classes)
        if self.out_dir and self.task == 'single_label':
            save_best_classes(report, names_of_best(scored, classes), self.out_dir)
        return flat_metrics(report)

    def _record(self, sample: dict) -> dict:
        record = {key: sample.get(key) for key in ('sample_idx', 'sample_id', 'error')}
        if 'gt_label' not in sample:
            raise ConfigError(
                f'the clip {record["sample_id"]!r} has no gt_label; give the data set '
                'its `classes`'
            )
        record['labels'] = np.asarray(sample['gt_label'].cpu())
        record['stream'] = sample.get('pred_stream', 'not stated')
        score = sample.get('pred_score')
        if score is not None and not score.isfinite().all():
            raise CoAVTError(
                f'pred_score of sample {record["sample_id"]!r} holds NaN or inf. Look '
                'at the clip, or at the checkpoint it came from'
            )
        # a copy: a row of a batch would drag the whole batch through pickle
        if score is not None:
            score = score.float().cpu().numpy().copy()
        record['scores'] = score
        return record

    def _scored(self, results: list[dict]) -> list[dict]:
        whole = [r for r in results if not r['error']]
        bare = [r['sample_id'] for r in whole if not len(r['labels'])]
        if bare and self.task == 'single_label':
            raise ConfigError(
                f'{len(bare)} clips have no label, the first is {bare[0]!r}; a '
                'single-label task needs one for each clip'
            )
        silent = [r['sample_id'] for r in whole if r['scores'] is None]
        if silent:
            print_log(
                f'{len(silent)} clips lack the modality that is tested and are not '
                f'scored: {", ".join(map(str, silent[:20]))}',
                logger='current',
                level=logging.WARNING,
            )
        if len(silent) == len(whole):
            raise CoAVTError(
                'no clip was scored: none could be read, or none has the modality '
                'that is tested'
            )
        return [record for record in whole if record['scores'] is not None]

    def _numbers(
        self, scores: np.ndarray, labels: np.ndarray, classes: list[str]
    ) -> dict:
        numbers = class_scores(self.task, scores, labels)
        value = 'AP' if self.task == 'multi_label' else 'accuracy'
        clips = labels.sum(axis=0).tolist()
        rows = zip(classes, clips, numbers.pop('per_class'), strict=True)
        per_class = [{'class': name, 'clips': n, value: x} for name, n, x in rows]
        return {
            'classes_without_clips': clips.count(0),
            **numbers,
            'per_class': per_class,
        }

    def _ceilings(self, labels: np.ndarray, classes: list[str]) -> dict | None:
        return {
            stream: ceiling(self.task, labels, class_mask(names, classes))
            for stream, names in self.sensed.items()
        } or None

    def _score_relabels(self, scored: list[dict], classes: list[str]) -> dict:
        return {
            name: self._score_relabel(find_manifest(path), scored, classes)
            for name, path in self.relabels.items()
        }

    def _score_relabel(
        self, path: Path, scored: list[dict], classes: list[str]
    ) -> dict:
        """The numbers against the labels of another manifest."""
        index = {name: i for i, name in enumerate(classes)}
        rows = list(iter_manifest(path))
        for row in rows:
            class_mask(row['labels'], classes)  # refuses labels of another list
        own = {row['sample_id']: [index[x] for x in row['labels']] for row in rows}
        here = [record for record in scored if record['sample_id'] in own]
        if not here:
            raise ConfigError(f'relabels: {path} has none of the clips tested')
        labels = label_matrix([own[r['sample_id']] for r in here], len(classes))
        numbers = class_scores(self.task, np.stack([r['scores'] for r in here]), labels)
        del numbers['per_class']
        about = read_sidecar(path)
        return {
            'protocol': about.get('protocol') or path.stem,
            'manifest': str(path),
            'manifest_hash': content_hash(path),
            'clips': len(here),
            'missing': about.get('missing', 0) + len(rows) - len(here),
            **numbers,
        }

    def _publish(
        self, report: dict, scores: np.ndarray, labels: np.ndarray, classes: list[str]
    ) -> None:
        self.last_results = report
        print_log('\n' + markdown_table(report), logger='current')
        if self.out_dir:
            save_classification(report, self.out_dir)
        if self.plots:
            single = self.task == 'single_label'
            table = confusion(scores, labels) if single else None
            save_class_plots(self.out_dir, report, table)
