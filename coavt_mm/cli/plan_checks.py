"""Whether a run is as long as its config plans, and what is the best of it."""

import re
from collections.abc import Iterator
from typing import Any

from coavt_mm.cli.run_parts import Finding, Parts
from coavt_mm.registry import METRICS
from coavt_mm.streams import STREAMS

_STREAM, _RANKS = f'({"|".join(STREAMS)})', r'(R@1|R@5|R@10|MedR|MeanR)'
#: Metric -> its numbers, where they follow from its class.
_NUMBERS = {
    'RetrievalMetric': rf'(text_to_clip|clip_to_text)(_\w+)?/{_STREAM}/{_RANKS}'
    '|matching_accuracy',
    'AVRetrievalMetric': '(audio_to_visual|visual_to_audio)/(encoder|query)/' + _RANKS,
}


def of_best(parts: Parts) -> Iterator[Finding]:
    """Look for the number that the best checkpoint is chosen by.

    Args:
        parts: Of the run.
    """
    saving = (parts.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    wanted = saving.get('save_best')
    if not wanted or wanted == 'auto' or not parts.metrics:
        return
    known = [_known_numbers(metric) for metric in parts.metrics]
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if not any(re.fullmatch(pattern, name) for pattern in known):
            given = ', '.join(str(metric.get('type')) for metric in parts.metrics)
            yield Finding(
                f'default_hooks.checkpoint.save_best={name!r} is no number of the '
                f'validation ({given}), so that no best checkpoint is kept',
                'loss',
            )


def _known_numbers(metric: dict) -> str:
    kind = metric.get('type')
    cls: Any = METRICS.get(kind) if isinstance(kind, str) else kind
    prefix = metric.get('prefix') or getattr(cls, 'default_prefix', None)
    inner = _NUMBERS.get(getattr(cls, '__name__', ''), '.*')
    return f'{re.escape(prefix)}/({inner})' if prefix else '.*'


def of_length(parts: Parts) -> Iterator[Finding]:
    """See what of the plan does not happen within a run of iterations.

    Args:
        parts: Of the run.
    """
    steps: Any = parts.steps
    loop: Any = parts.cfg.get('train_cfg') or {}
    if not isinstance(steps, int):
        return
    late: list[str] = []
    saving = (parts.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if parts.val is not None:
        if loop.get('val_begin', 1) > steps:
            late.append(f'no validation (val_begin={loop.val_begin})')
        elif loop.get('val_interval', 1) > steps:
            late.append(
                f'one validation, at the end (val_interval={loop.val_interval})'
            )
    interval = saving.get('interval', -1)
    if not saving.get('by_epoch', True) and interval > steps:
        last = 'one checkpoint' if saving.get('save_last', True) else 'no checkpoint'
        late.append(f'{last} (default_hooks.checkpoint.interval={interval})')
    late += _of_schedule(parts.cfg, steps)
    if late:
        hint = '; the variable max_iters sets all of it' * ('max_iters' in parts.cfg)
        yield Finding(f'of {steps:,} steps: {", ".join(late)}{hint}', 'note')


def _of_schedule(cfg: Any, steps: int) -> Iterator[str]:
    plans = cfg.get('param_scheduler') or []
    plans = [plans] if isinstance(plans, dict) else [*plans]
    ends: list[Any] = [
        plan.get('end', plan.get('T_max'))
        for plan in plans
        if isinstance(plan, dict) and plan.get('by_epoch', True) is False
    ]
    if not plans or len(ends) < len(plans) or not all(isinstance(e, int) for e in ends):
        return
    if (end := max(ends)) != steps:
        how = 'is cut off' if end > steps else 'stays at its last value'
        yield f'the learning rate is planned for {end:,} and {how}'
