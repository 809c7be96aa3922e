"""Zero-shot classification by prompts as an mmengine metric."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

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
    label_indices,
    label_matrix,
    mean_numbers,
    renamed_sensed,
)
from coavt_mm.evaluation.metric import ReportingMetric, draw_table, heading
from coavt_mm.evaluation.prompts import (
    check_joint_template,
    class_features,
    joint_features,
    joint_scores,
    prompt_scores,
)
from coavt_mm.models.similarity import texts_for
from coavt_mm.registry import METRICS
from coavt_mm.streams import FUSED, STREAMS
from coavt_mm.texts import check_templates
from coavt_mm.visualization import label_sets_figure

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT


@METRICS.register_module()
class ZeroShotMetric(ReportingMetric):
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
        observable_classes: Stream -> the classes that it can tell, see
            ``ClassificationMetric``; adds ceilings.
        max_tokens: Longer sentences lose their end.
        out_dir: Where zeroshot.json, zeroshot.md and zeroshot.png go; None saves
            nothing.
        sensed: Old name of ``observable_classes``.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        model: Encodes the sentences; ShareModelHook or a script sets it.
    """

    name = default_prefix = 'zeroshot'

    def __init__(
        self,
        templates: str | Sequence[str] | Mapping[str, Sequence[str]],
        label_sets: Mapping[str, Sequence[str]] | None = None,
        task: str = 'single_label',
        words: Mapping[str, str] | None = None,
        observable_classes: Mapping[str, Sequence[str]] | None = None,
        max_tokens: int = 77,
        out_dir: str | None = None,
        sensed: Mapping[str, Sequence[str]] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(out_dir, plots=out_dir is not None, **kwargs)
        check_task(task)
        _check(templates, list(label_sets or ()))
        self.templates, self.label_sets, self.task = templates, label_sets, task
        self.words, self.max_tokens = dict(words or {}), max_tokens
        self.observable_classes = renamed_sensed(observable_classes, sensed)
        self.model: CoAVT | None = None
        self._texts: dict[str, Tensor] | Tensor | None = None

    def record(self, sample: dict) -> dict:
        """Score a clip against the sentences."""
        if self._texts is None:
            self._texts = self._encode_sets()
        labels = label_indices(sample)
        classes = class_names_of(self.dataset_meta, type(self).__name__)
        return {
            'labels': [classes[i] for i in labels],
            'scores': self._scores(sample.get('clip_feats', {})),
        }

    def check(self, record: dict) -> None:
        """Refuse scores that are not finite."""
        for stream, scores in record['scores'].items():
            if not all(np.isfinite(values).all() for values in scores.values()):
                raise CoAVTError(
                    f'clip_feats[{stream}] of sample {record["sample_id"]!r} hold NaN '
                    'or inf. Look at the clip, or at the checkpoint it came from'
                )

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._texts = None  # the model may have changed by next time
        return super().evaluate(size)

    def score(self, records: list[dict]) -> dict[str, list[dict]]:
        """Stream -> the records that have it."""
        whole = [record for record in records if not record['error']]
        streams = {s: [r for r in whole if s in r['scores']] for s in (*STREAMS, FUSED)}
        return {stream: found for stream, found in streams.items() if found}

    def report(self, scored: dict[str, list[dict]]) -> dict:
        """Stream -> label set -> numbers."""
        if not scored:
            raise CoAVTError('no clip could be scored: none has features of any stream')
        streams = {s: self._stream(s, records) for s, records in scored.items()}
        return {'task': self.task, 'streams': streams}

    def numbers(self, report: dict) -> dict:
        """The means: 'AV/mean', 'AV/shape/top1'."""
        return {
            stream: {
                'mean': part['mean'],
                **{name: mean_numbers(x) for name, x in part['label_sets'].items()},
            }
            for stream, part in report['streams'].items()
        }

    def table(self, report: dict) -> str:
        """One row per stream and label set; shares in per cent."""
        streams, main = report['streams'].items(), MAIN[report['task']]
        sets = [
            (stream, name, numbers)
            for stream, part in streams
            for name, numbers in part['label_sets'].items()
        ]
        columns = list(dict.fromkeys(n for *_, x in sets for n in mean_numbers(x)))
        counts = ('classes', 'templates', 'clips')
        head = ['stream', 'label set', *counts, *(TITLES.get(n, n) for n in columns)]
        rows = [
            [
                *(stream, name),
                *(str(numbers[key]) for key in counts),
                *(cell(n, numbers.get(n)) for n in columns),
                cell(main, numbers.get('ceiling')),
            ]
            for stream, name, numbers in sets
        ]
        means = ', '.join(f'{s} {cell(main, part["mean"])}' for s, part in streams)
        mean = f'Mean {TITLES.get(main, main)} over the label sets (%): {means}\n'
        return f'{heading(report)}\n\n{draw_table([*head, "ceiling"], rows)}\n{mean}'

    def write(self, report: dict, scored: dict[str, list[dict]], table: str) -> None:
        """Write the best class of each clip as well, where all classes compete."""
        super().write(report, scored, table)
        if self.out_dir and self.task == 'single_label' and not self.label_sets:
            best = best_of_clips(report, _by_stream(scored), self._sets()['all'])
            self.write_json(BEST_CLASSES, best, None)

    def figures(self, report: dict, scored: dict[str, list[dict]]) -> dict[str, Figure]:
        """Bars of the label sets, with their ceilings."""
        main = MAIN[report['task']]
        values, ceilings = (
            {
                stream: {
                    name: numbers[key]
                    for name, numbers in part['label_sets'].items()
                    if numbers.get(key) is not None
                }
                for stream, part in report['streams'].items()
            }
            for key in (main, 'ceiling')
        )
        marks = ceilings if any(ceilings.values()) else None
        name = report['protocol'] or 'zero-shot classification'
        title = f'{name}: {report["clips"]} clips, by prompts'
        figure = label_sets_figure(values, marks, TITLES.get(main, main), title)
        return {'zeroshot': figure}

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
        assert self._texts is not None
        joint, texts = isinstance(self._texts, Tensor), self._texts
        if isinstance(texts, Tensor):
            texts = {'joint': texts}
        dims = len(self._sets()) + 1 if joint else 2
        cosines = {
            stream: {
                name: prompt_scores(x, texts_for(text, stream, dims))
                for name, text in texts.items()
            }
            for stream, x in feats.items()
        }
        if len(cosines) == 3:
            a, b, c = cosines.values()
            cosines[FUSED] = {name: a[name] + b[name] + c[name] for name in texts}
        if joint:
            assert self.model is not None and self.model.contrastive_head is not None
            logits = self.model.contrastive_head.logits
            cosines = {
                stream: dict(
                    zip(
                        self._sets(),
                        joint_scores(logits(x['joint']).detach()),
                        strict=True,
                    )
                )
                for stream, x in cosines.items()
            }
        return {
            stream: {name: values.cpu().numpy() for name, values in scores.items()}
            for stream, scores in cosines.items()
        }

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
        value = VALUE[self.task]
        values = zip(classes, numbers.pop('per_class'), strict=True)
        result = {
            'clips': len(labels),
            'classes': len(classes),
            'templates': len(self._sentences(name)),
            **numbers,
            'per_class': [{'class': label, value: x} for label, x in values],
        }
        known = self.observable_classes.get('AV' if stream == FUSED else stream)
        if known is not None and len(labels):
            best = ceiling(self.task, labels, np.isin(classes, known))
            result['ceiling'] = best[MAIN[self.task]]
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
