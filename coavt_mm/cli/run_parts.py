"""What is found of a run before it begins, and of which of its parts."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmengine.dist import get_world_size
from mmengine.runner import Runner

from coavt_mm.engine.weights import bare_model


class Finding(NamedTuple):
    """Something that does not fit.

    Attributes:
        text: One line: what, where, and what to do.
        kind: 'error' if no run can go on with it, 'loss' if a run goes on and gives
            less than the config asks for, 'note' if it may be as it should.
    """

    text: str
    kind: str = 'error'


@dataclass
class Parts:
    """What a config has been built to; None where it has not, or can't be."""

    cfg: Any
    model: Any = None
    train: Any = None
    val: Any = None
    processes: int = 1
    metrics: list[dict] = field(default_factory=list)

    @property
    def steps(self) -> int | None:
        """Iterations of the run, None if it counts epochs."""
        return (self.cfg.get('train_cfg') or {}).get('max_iters')


def parts_of_run(runner: Runner) -> Parts:
    """What a runner has built already.

    Args:
        runner: Before it trains.
    """
    data = {
        name: getattr(getattr(runner, f'_{name}_dataloader'), 'dataset', None)
        for name in ('train', 'val')
    }
    return Parts(runner.cfg, bare_model(runner), **data, processes=get_world_size(),
                 metrics=metrics_of(runner.cfg, 'val'))  # fmt: skip


def metrics_of(cfg: Any, split: str) -> list[dict]:
    """The configs of a split's metrics.

    Args:
        cfg: The config.
        split: 'val' or 'test'.
    """
    given = cfg.get(f'{split}_evaluator') or []
    if isinstance(given, dict) and 'metrics' in given:
        given = given['metrics']
    given = given if isinstance(given, list | tuple) else [given]
    return [metric for metric in given if isinstance(metric, dict)]
