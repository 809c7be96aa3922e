"""Classification as an mmengine metric."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    read_sidecar,
)
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.class_scores import (
    BEST_CLASSES,
    MAIN,
    TITLES,
    VALUE,
    best_of_clips,
    ceiling,
    cell,
    check_task,
    class_mask,
    class_names_of,
    class_scores,
    confusion,
    label_indices,
    label_matrix,
    mean_numbers,
    renamed_sensed,
)
from coavt_mm.evaluation.metric import (
    ReportingMetric,
    draw_table,
    heading,
    warn_of,
)
from coavt_mm.registry import METRICS
from coavt_mm.visualization import class_bars_figure, confusion_figure


@dataclass
class Scored:
    """The clips that were scored.

    Args:
        records: B records.
        unscored: Clips without a score.
        classes: C names.
        scores: (B, C).
        labels: (B, C) bool.
    """

    records: list[dict]
    unscored: int
    classes: list[str]
    scores: np.ndarray
    labels: np.ndarray


@METRICS.register_module()
class ClassificationMetric(ReportingMetric):
    """mAP, mAUC and d' of labels, or accuracy of one class per clip.

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
        observable_classes: Stream -> the classes that it can tell, for data with known
            answers; adds the numbers of a model that makes no mistake on these and
            knows nothing of the others.
        out_dir: Where classification.json, classification.md, best_classes.json (of
            single labels) and plots go; None saves nothing.
        plots: Save plots as well.
        sensed: Old name of ``observable_classes``.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.
    """

    name = default_prefix = 'classification'

    def __init__(
        self,
        task: str = 'multi_label',
        relabels: Mapping[str, str] | None = None,
        observable_classes: Mapping[str, Sequence[str]] | None = None,
        out_dir: str | None = None,
        plots: bool = False,
        sensed: Mapping[str, Sequence[str]] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(out_dir, plots, **kwargs)
        check_task(task)
        self.task, self.relabels = task, dict(relabels or {})
        self.observable_classes = renamed_sensed(observable_classes, sensed)

    def record(self, sample: dict) -> dict:
        """Keep scores and labels."""
        score = sample.get('pred_score')
        # a copy: a row of a batch would drag the whole batch through pickle
        return {
            'labels': label_indices(sample),
            'stream': sample.get('pred_stream', 'not stated'),
            'scores': None if score is None else score.float().cpu().numpy().copy(),
        }

    def check(self, record: dict) -> None:
        """Refuse scores that are not finite."""
        score = record['scores']
        if score is not None and not np.isfinite(score).all():
            raise CoAVTError(
                f'pred_score of sample {record["sample_id"]!r} holds NaN or inf. Look '
                'at the clip, or at the checkpoint it came from'
            )

    def score(self, records: list[dict]) -> Scored:
        """Scores and labels of the clips that have both."""
        classes = class_names_of(self.dataset_meta, type(self).__name__)
        whole = [record for record in records if not record['error']]
        unlabelled = [r['sample_id'] for r in whole if not len(r['labels'])]
        if unlabelled and self.task == 'single_label':
            raise ConfigError(
                f'{len(unlabelled)} clips have no label, the first is '
                f'{unlabelled[0]!r}; a single-label task needs one for each clip'
            )
        unscored = [r['sample_id'] for r in whole if r['scores'] is None]
        warn_of(unscored, 'lack the modality that is tested and are not scored')
        if len(unscored) == len(whole):
            raise CoAVTError(
                'no clip was scored: none could be read, or none has the modality '
                'that is tested'
            )
        scored = [record for record in whole if record['scores'] is not None]
        scores = np.stack([record['scores'] for record in scored])
        if scores.shape[1] != len(classes):
            raise ConfigError(
                f'the model scores {scores.shape[1]} classes, the data set has '
                f'{len(classes)}; set head.num_classes'
            )
        labels = label_matrix([record['labels'] for record in scored], len(classes))
        return Scored(scored, len(unscored), classes, scores, labels)

    def report(self, scored: Scored) -> dict:
        """The means, the numbers of each class, ceilings, other labels."""
        classes, labels = scored.classes, scored.labels
        numbers = class_scores(self.task, scored.scores, labels)
        clips = labels.sum(axis=0).tolist()
        rows = zip(classes, clips, numbers.pop('per_class'), strict=True)
        value = VALUE[self.task]
        return {
            'unscored': scored.unscored,
            'task': self.task,
            'streams': dict(Counter(record['stream'] for record in scored.records)),
            'classes': len(classes),
            'classes_without_clips': clips.count(0),
            **numbers,
            'per_class': [{'class': c, 'clips': n, value: x} for c, n, x in rows],
            'ceilings': {
                stream: ceiling(self.task, labels, class_mask(names, classes))
                for stream, names in self.observable_classes.items()
            }
            or None,
            'relabels': {
                name: self._relabelled(find_manifest(path), scored)
                for name, path in self.relabels.items()
            },
        }

    def numbers(self, report: dict) -> dict:
        """The means: 'mAP', 'relabels/A/top1'."""
        parts = report['relabels'].items()
        relabels = {name: mean_numbers(part) for name, part in parts}
        return {**mean_numbers(report), 'relabels': relabels}

    def table(self, report: dict) -> str:
        """The numbers, with ceilings and re-labels under them; shares in per cent."""
        streams = '+'.join(f'{s} ({n})' for s, n in report['streams'].items())
        parts = {streams: report}
        for stream, part in (report['ceilings'] or {}).items():
            parts[f'{stream}: ceiling'] = part
        for name, part in report['relabels'].items():
            about = f'{part["protocol"]}, {part["clips"]} clips, {part["missing"]}'
            parts[f'labels {name}: {about} missing'] = part
        columns = list(
            dict.fromkeys(n for p in parts.values() for n in mean_numbers(p))
        )
        head = ['stream (clips)', *(TITLES.get(name, name) for name in columns)]
        rows = [
            [label, *(cell(name, part.get(name)) for name in columns)]
            for label, part in parts.items()
        ]
        counts = f'{report["classes"]} classes, {report["classes_without_clips"]} '
        counts += f'without a clip, {report["unscored"]} clips not scored'
        return f'{heading(report)}\n{counts}\n\n{draw_table(head, rows)}'

    def write(self, report: dict, scored: Scored, table: str) -> None:
        """Write the best class of each clip as well, where clips have one class."""
        super().write(report, scored, table)
        if self.out_dir and self.task == 'single_label':
            best = best_of_clips(report, scored.records, scored.classes)
            self.write_json(BEST_CLASSES, best, None)

    def figures(self, report: dict, scored: Scored) -> dict[str, Figure]:
        """Bars of the classes and, of single labels, a confusion matrix."""
        main, value = MAIN[self.task], VALUE[self.task]
        main = 'mean_class_accuracy' if main == 'top1' else main
        title = f'{report["protocol"] or "classification"}: {report["clips"]} clips, '
        title += f'{TITLES.get(main, main)} {cell(main, report[main])} %'
        values = {row['class']: row[value] for row in report['per_class']}
        figures = {'per_class': class_bars_figure(values, value, title)}
        if self.task == 'single_label':
            counts = confusion(scored.scores, scored.labels)
            figures['confusion_matrix'] = confusion_figure(counts, list(values), title)
        return figures

    def _relabelled(self, path: Path, scored: Scored) -> dict:
        """The numbers against the labels of another manifest."""
        classes = scored.classes
        index = {name: i for i, name in enumerate(classes)}
        rows = list(iter_manifest(path))
        for row in rows:
            class_mask(row['labels'], classes)  # refuses labels of another list
        own = {row['sample_id']: [index[x] for x in row['labels']] for row in rows}
        tested = [record for record in scored.records if record['sample_id'] in own]
        if not tested:
            raise ConfigError(f'relabels: {path} has none of the clips tested')
        labels = label_matrix([own[r['sample_id']] for r in tested], len(classes))
        scores = np.stack([record['scores'] for record in tested])
        about = read_sidecar(path)
        return {
            'protocol': about.get('protocol') or path.stem,
            'manifest': str(path),
            'manifest_hash': content_hash(path),
            'clips': len(tested),
            'missing': about.get('missing', 0) + len(rows) - len(tested),
            **mean_numbers(class_scores(self.task, scores, labels)),
        }
