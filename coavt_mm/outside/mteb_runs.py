"""Run benchmarks of MTEB, and say in a line each what came out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mteb

from coavt_mm.apis.inputs import WINDOWS
from coavt_mm.errors import InputError
from coavt_mm.outside.mteb_encoder import CoAVTEncoder
from coavt_mm.outside.mteb_tasks import sounding_shapes_tasks


def chosen_tasks(
    benchmark: str | None = None,
    names: Sequence[str] = (),
    sounding_shapes: str | Path | None = None,
) -> list:
    """Put together what is to be run.

    Args:
        benchmark: Of mteb, such as 'MVEB(v1)'.
        names: Of mteb's tasks.
        sounding_shapes: Folder of the demo's clips.

    Raises:
        InputError: mteb does not know one of them, or there is none.
        DatasetMissingError: There are no clips of the demo.
    """
    found: list = []
    try:
        if benchmark:
            found += mteb.get_benchmark(benchmark).tasks
        found += [mteb.get_task(name) for name in names]
    except KeyError as error:
        raise InputError(f'mteb does not know it: {error.args[0]}') from error
    if sounding_shapes:
        found += sounding_shapes_tasks(sounding_shapes)
    if not found:
        raise InputError('name a benchmark, tasks, or a folder of Sounding Shapes')
    return found


def run_tasks(
    encoder: CoAVTEncoder,
    tasks: Sequence[Any],
    out: str | Path,
    batch_size: int = WINDOWS,
) -> Iterator[dict]:
    """Run tasks one by one; what is in the folder already is not run again.

    Args:
        encoder: The model.
        tasks: From :func:`chosen_tasks`.
        out: Folder for the results, in mteb's form.
        batch_size: Windows that go through the model at once.

    Yields:
        ``task``, ``type`` and ``score`` (the main one, 0 ... 1), of retrieval ``R@1``,
        or ``error`` (str) of a task that could not be run, or that the model can't do.
    """
    card: Any = encoder.mteb_model_meta
    able = set(card.modalities)
    cache = mteb.ResultCache(out)
    for task in tasks:
        about = task.metadata
        row = dict(task=about.name, type=about.type)
        lacking = sorted(set(about.modalities) - able)
        if lacking:
            yield dict(row, error=f'the model takes no {", ".join(lacking)}')
            continue
        results = mteb.evaluate(
            encoder,
            task,
            cache=cache,
            raise_error=False,
            encode_kwargs=dict(batch_size=batch_size),
        )
        for failed in results.exceptions or []:
            yield dict(row, error=' '.join(failed.exception.split()))
        for done in results.task_results:
            yield dict(row, score=float(done.get_score()), **_recall(done.scores))


def _recall(scores: Mapping[str, list]) -> dict[str, float]:
    key = 'hit_rate_at_1'
    found = [one[key] for split in scores.values() for one in split if key in one]
    return {'R@1': sum(found) / len(found)} if found else {}


def line_of(row: dict) -> str:
    """What is printed of a task, in per cent.

    Args:
        row: From :func:`run_tasks`.
    """
    told = [row['task'], row['type']]
    if 'error' in row:
        return '  '.join([*told, f'not run: {row["error"]:.300}'])
    told.append(f'score {100 * row["score"]:.1f}')
    if 'R@1' in row:
        told.append(f'R@1 {100 * row["R@1"]:.1f}')
    return '  '.join(told)
