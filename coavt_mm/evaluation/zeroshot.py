"""Zero-shot classification by prompts as an mmengine metric."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import print_log
from torch import Tensor

from coavt_mm.datasets.captions import check_templates
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.class_report import (
    TITLES,
    cell,
    mean_numbers,
    save_best_classes,
)
from coavt_mm.evaluation.class_scores import TASKS, ceiling, class_scores, names_of_best
from coavt_mm.evaluation.classification import class_mask, class_names_of, label_matrix
from coavt_mm.evaluation.clips import check_samples, describe_clips
from coavt_mm.evaluation.prompts import (
    check_joint_template,
    class_features,
    joint_features,
    joint_scores,
    prompt_scores,
)
from coavt_mm.evaluation.report import draw_table, heading
from coavt_mm.models.similarity import temperature_of
from coavt_mm.registry import METRICS
from coavt_mm.streams import FUSED, STREAMS
from coavt_mm.visualization import label_sets_figure, save_figure

MAIN = {'single_label': 'top1', 'multi_label': 'mAP'}


@METRICS.register_module()
class ZeroShotMetric(BaseMetric):
    """Which class name, put into sentences, is nearest to the clip?

    Text features of the classes are computed once, as the mean over the sentences. The
    score of a class is the mean over frames of the best query's cosine with it. With
    one sentence for all label sets, every combination of their classes competes, and a
    class is scored by the sum over those that name it. Streams AV, A and V apart, each
    over the clips that have it; 'AV+A+V' adds up the cosines of all three.

    Takes predictions of ``CoAVT`` with ``clip_feats``, and ``gt_label``.

    Args:
        templates: Sentences with one place ``{}`` for the class name; or label set ->
            sentences; or one sentence with a place for each label set, such as 'a
            {colour} {shape}'.
        label_sets: Name -> class names that compete with each other, all of the data
            set's classes. Default: one set of all classes, 'all'.
        task: 'single_label' (top-1, top-5, mean-class accuracy over the clips that have
            a label of the set) or 'multi_label' (mAP, mAUC, d' over all clips).
        words: Class name -> what sentences call it, where that is another word.
        sensed: Stream -> the classes that it can tell, see ``ClassificationMetric``;
            adds ceilings.
        max_tokens: Longer sentences lose their end.
        out_dir: Where zeroshot.json, zeroshot.md and zeroshot.png go; None saves
            nothing.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        model: Encodes the sentences; ShareModelHook or a script sets it.
        last_results: The nested results of the last evaluation (main process).
    """

    default_prefix = 'zeroshot'

    def __init__(
        self,
        templates: str | Sequence[str] | Mapping[str, Sequence[str]],
        label_sets: Mapping[str, Sequence[str]] | None = None,
        task: str = 'single_label',
        words: Mapping[str, str] | None = None,
        sensed: Mapping[str, Sequence[str]] | None = None,
        max_tokens: int = 77,
        out_dir: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if task not in TASKS:
            raise ConfigError(f'task {task!r} is none of {", ".join(TASKS)}')
        _check(templates, list(label_sets or ()))
        self.templates, self.label_sets, self.task = templates, label_sets, task
        self.words, self.sensed = dict(words or {}), dict(sensed or {})
        self.max_tokens, self.out_dir = max_tokens, out_dir
        self.model: torch.nn.Module | None = None
        self.last_results: dict | None = None
        self._texts: dict[str, Tensor] | Tensor | None = None
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score a batch of clips against the sentences."""
        if self._texts is None:
            self._texts = self._encode_sets()
        self.results += [self._record(sample) for sample in data_samples]

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size, self._texts = size, None  # the model may have changed by next time
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``."""
        check_samples(results, self._size)
        report = {
            'metric': 'zeroshot',
            **describe_clips(self.dataset_meta, results),
            'task': self.task,
        }
        whole = [record for record in results if not record['error']]
        streams = {s: [r for r in whole if s in r['scores']] for s in (*STREAMS, FUSED)}
        found = {
            s: self._stream(s, records) for s, records in streams.items() if records
        }
        if not found:
            raise CoAVTError('no clip could be scored: none has features of any stream')
        report['streams'] = found
        self.last_results = report
        print_log('\n' + zeroshot_table(report), logger='current')
        if self.out_dir:
            save_zeroshot(report, self.out_dir)
            if self.task == 'single_label' and not self.label_sets:
                best = names_of_best(_by_stream(streams), self._sets()['all'])
                save_best_classes(report, best, self.out_dir)
        return flat_zeroshot(report)

    def _sets(self) -> dict[str, list[str]]:
        classes = class_names_of(self.dataset_meta, type(self).__name__)
        sets = {name: list(names) for name, names in (self.label_sets or {}).items()}
        for names in sets.values():
            class_mask(names, classes)  # refuses a name that is no class
        return sets or {'all': classes}

    def _sentences(self, name: str) -> Sequence[str]:
        if isinstance(self.templates, Mapping):
            return self.templates[name]
        return [self.templates] if isinstance(self.templates, str) else self.templates

    def _encode_sets(self) -> dict[str, Tensor] | Tensor:
        """Label set -> (C, E); one (C_1, ..., C_K, E) where they share a sentence."""
        if self.model is None:
            raise ConfigError(
                'ZeroShotMetric has no model to encode its sentences with: add '
                "custom_hooks=[dict(type='ShareModelHook')], or set metric.model"
            )
        sets = {
            name: [self.words.get(x, x) for x in names]
            for name, names in self._sets().items()
        }
        if isinstance(self.templates, str):
            return joint_features(self.model, self.templates, sets, self.max_tokens)
        return {
            name: class_features(
                self.model, words, self._sentences(name), self.max_tokens
            )
            for name, words in sets.items()
        }

    def _scores(self, feats: Mapping[str, Tensor]) -> dict[str, dict[str, np.ndarray]]:
        """Stream -> label set -> score of each class, from a clip's (F, Q, E)."""
        joint = isinstance(self._texts, Tensor)
        texts = {'joint': self._texts} if joint else self._texts
        cosines = {
            stream: {name: prompt_scores(x, text) for name, text in texts.items()}
            for stream, x in feats.items()
        }
        if len(cosines) == 3:
            parts = list(cosines.values())
            cosines[FUSED] = {name: sum(p[name] for p in parts) for name in texts}
        if joint:
            temperature = temperature_of(self.model)
            cosines = {
                stream: dict(
                    zip(
                        self._sets(), joint_scores(x['joint'], temperature), strict=True
                    )
                )
                for stream, x in cosines.items()
            }
        return {
            stream: {name: values.cpu().numpy() for name, values in scores.items()}
            for stream, scores in cosines.items()
        }

    def _record(self, sample: dict) -> dict:
        record = {key: sample.get(key) for key in ('sample_idx', 'sample_id', 'error')}
        if 'gt_label' not in sample:
            raise ConfigError(
                f'the clip {record["sample_id"]!r} has no gt_label; give the data set '
                'its `classes`'
            )
        classes = class_names_of(self.dataset_meta, type(self).__name__)
        record['labels'] = [classes[i] for i in sample['gt_label'].tolist()]
        record['scores'] = self._scores(sample.get('clip_feats', {}))
        for stream, scores in record['scores'].items():
            if not all(np.isfinite(values).all() for values in scores.values()):
                raise CoAVTError(
                    f'clip_feats[{stream}] of sample {record["sample_id"]!r} hold NaN '
                    'or inf. Look at the clip, or at the checkpoint it came from'
                )
        return record

    def _stream(self, stream: str, records: list[dict]) -> dict:
        """Numbers of every label set, and the mean of the main one over the sets."""
        sets = {
            name: self._set(stream, name, names, records)
            for name, names in self._sets().items()
        }
        main = [found[MAIN[self.task]] for found in sets.values()]
        known = [value for value in main if value is not None]
        mean = float(np.mean(known)) if known else None
        return {'clips': len(records), 'mean': mean, 'label_sets': sets}

    def _set(
        self, stream: str, name: str, classes: list[str], records: list[dict]
    ) -> dict:
        labels = label_matrix(
            [[classes.index(x) for x in r['labels'] if x in classes] for r in records],
            len(classes),
        )
        scores = np.stack([record['scores'][stream][name] for record in records])
        if self.task == 'single_label':
            asked = labels.any(axis=1)
            scores, labels = scores[asked], labels[asked]
        numbers = class_scores(self.task, scores, labels)
        values = zip(classes, numbers.pop('per_class'), strict=True)
        value = 'AP' if self.task == 'multi_label' else 'accuracy'
        result = {
            'clips': len(labels),
            'classes': len(classes),
            'templates': len(self._sentences(name)),
            **numbers,
            'per_class': [{'class': label, value: x} for label, x in values],
        }
        known = self.sensed.get('AV' if stream == FUSED else stream)
        if known is not None and len(labels):
            sensed = np.isin(classes, known)
            result['ceiling'] = ceiling(self.task, labels, sensed)[MAIN[self.task]]
        return result


def _by_stream(streams: Mapping[str, Sequence[dict]]) -> Iterator[dict]:
    """Records with the scores of one stream each, where all classes compete."""
    for stream, records in streams.items():
        for record in records:
            yield dict(record, stream=stream, scores=record['scores'][stream]['all'])


def _check(templates, label_sets: list[str]) -> None:
    """Refuse sentences that have no place for what they should name."""
    if isinstance(templates, str):
        check_joint_template(templates, label_sets)
        return
    by_set = templates if isinstance(templates, Mapping) else {'all': templates}
    for sentences in by_set.values():
        check_templates(sentences)
    lacking = [name for name in label_sets if name not in by_set]
    if isinstance(templates, Mapping) and lacking:
        raise ConfigError(f'templates has no sentences for the label set {lacking}')


def flat_zeroshot(report: dict) -> dict[str, float]:
    """Numbers for mmengine's log: 'AV/mean', 'AV/shape/top1'."""
    flat = {}
    for stream, found in report['streams'].items():
        flat[f'{stream}/mean'] = found['mean']
        for name, numbers in found['label_sets'].items():
            for key, value in mean_numbers(numbers).items():
                flat[f'{stream}/{name}/{key}'] = value
    return {key: value for key, value in flat.items() if value is not None}


def zeroshot_table(report: dict) -> str:
    """One row a stream and label set; shares in per cent."""
    sets = [
        (stream, name, numbers)
        for stream, found in report['streams'].items()
        for name, numbers in found['label_sets'].items()
    ]
    main = MAIN[report['task']]
    columns = list(dict.fromkeys(n for *_, part in sets for n in mean_numbers(part)))
    counts = ('classes', 'templates', 'clips')
    head = ['stream', 'label set', *counts, *(TITLES.get(n, n) for n in columns)]
    rows = []
    for stream, name, part in sets:
        cells = [cell(n, part.get(n)) for n in columns]
        best = cell(main, part.get('ceiling'))
        sizes = [str(part[key]) for key in counts]
        rows.append([stream, name, *sizes, *cells, best])
    means = ', '.join(
        f'{stream} {cell(main, found["mean"])}'
        for stream, found in report['streams'].items()
    )
    mean = f'Mean {TITLES.get(main, main)} over the label sets (%): {means}\n'
    return f'{heading(report)}\n\n{draw_table([*head, "ceiling"], rows)}\n{mean}'


def save_zeroshot(report: dict, out_dir: str | Path) -> None:
    """Write zeroshot.json, zeroshot.md and zeroshot.png."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    dump(report, out_dir / 'zeroshot.json', indent=2)
    (out_dir / 'zeroshot.md').write_text(zeroshot_table(report), 'utf-8')
    main = MAIN[report['task']]

    def drawn(key: str) -> dict:
        return {
            stream: {
                name: part[key]
                for name, part in found['label_sets'].items()
                if part.get(key) is not None
            }
            for stream, found in report['streams'].items()
        }

    title = f'{report["protocol"]}: {report["clips"]} clips, by prompts'
    ceilings = drawn('ceiling')
    figure = label_sets_figure(
        drawn(main),
        ceilings if any(ceilings.values()) else None,
        TITLES.get(main, main),
        title,
    )
    save_figure(figure, out_dir / 'zeroshot.png')
