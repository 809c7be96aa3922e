"""Curves and step times from the logs of several runs."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean, pstdev

from coavt_mm.errors import CoAVTError
from coavt_mm.visualization.curves import Panel

#: losses and recalls
USUAL_KEYS = ('loss', 'loss_*', '*/R@1')
_TIMES = ('time', 'data_time')
Series = dict[str, tuple[list[float], list[float]]]


def read_run(path: str | Path) -> Series:
    """Read what a run logged; where it was resumed, the later start counts.

    Args:
        path: A work dir, or one ``scalars.json``.

    Returns:
        Name -> (steps, values), steps in order.

    Raises:
        CoAVTError: If there is no log, or a file is none.
    """
    path = Path(path)
    files = sorted(path.rglob('vis_data/scalars.json')) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise CoAVTError(f'{path}: neither a work dir with a log nor a scalars.json')
    merged: dict[str, dict[float, float]] = {}
    for file in files:  # folders are named by the time of the start
        for name, (steps, values) in _read(file).items():
            known = merged.setdefault(name, {})
            since = steps[0]
            kept = {step: value for step, value in known.items() if step < since}
            merged[name] = {**kept, **dict(zip(steps, values, strict=True))}
    return {
        name: ([*sorted(points)], [points[step] for step in sorted(points)])
        for name, points in merged.items()
    }


def _read(file: Path) -> Series:
    series: Series = {}
    try:
        for line in file.read_text('utf-8').splitlines():
            row = json.loads(line)
            step = row.pop('step', row.get('iter'))
            part = '' if 'lr' in row else 'evaluation/'  # which has times of its own
            for name, value in row.items():
                if step is None or not isinstance(value, int | float):
                    continue
                name = part + name if name in _TIMES else name
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    except (ValueError, AttributeError) as error:
        raise CoAVTError(
            f'{file}: is no log of mmengine, one JSON object a line ({error})'
        ) from error
    return series


def run_names(paths: Sequence[str | Path]) -> list[str]:
    """Name runs by their folders, longer where two are the same.

    Args:
        paths: Work dirs or files.
    """
    parts = [Path(path).absolute().parts for path in paths]
    for count in range(1, max(len(part) for part in parts) + 1):
        names = ['/'.join(part[-count:]) for part in parts]
        if len({*names}) == len(names):
            break
    return names


def panels(runs: dict[str, Series], keys: Sequence[str] = USUAL_KEYS) -> list[Panel]:
    """Choose what is drawn: a panel for each key, a curve for each run that has it.

    Args:
        runs: Name of a run -> what it logged.
        keys: Names, or patterns such as ``loss_*``.

    Raises:
        CoAVTError: If a name that is no pattern, or all patterns, are in no run.
    """
    logged = list(dict.fromkeys(name for run in runs.values() for name in run))
    chosen = []
    for key in keys:
        found = [name for name in logged if fnmatchcase(name, key)]
        if not found and '*' not in key and keys is not USUAL_KEYS:
            raise CoAVTError(f"no run logged '{key}'; there are {', '.join(logged)}")
        chosen += [name for name in found if name not in chosen]
    if not chosen:
        raise CoAVTError(
            f'no run logged {" or ".join(keys)}; there are {", ".join(logged)}'
        )
    return [
        Panel(
            name, {run: series[name] for run, series in runs.items() if name in series}
        )
        for name in chosen
    ]


def step_times(series: Series, include_outliers: bool = False) -> dict[str, float]:
    """Time of a training step, from the means that were logged.

    Args:
        series: What a run logged.
        include_outliers: Whether the first one, with the start of worker processes and
            the choice of kernels, counts.

    Returns:
        Mean, standard deviation, slowest, fastest in s; share of it that waited for
        data.

    Raises:
        CoAVTError: If no training step was logged.
    """
    rows = {name: series.get(name, ((), ()))[1] for name in _TIMES}
    first = 0 if include_outliers or len(rows['time']) == 1 else 1
    times, waits = rows['time'][first:], rows['data_time'][first:]
    if not times:
        raise CoAVTError('the log has no time of a training step')
    return dict(
        mean=mean(times),
        std=pstdev(times),
        slowest=max(times),
        fastest=min(times),
        data_share=mean(waits) / mean(times) if waits else 0.0,
    )
