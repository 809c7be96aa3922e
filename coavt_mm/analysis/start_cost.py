"""What it takes to open a long manifest in several processes at once."""

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START, OPENED = 'Pss_Anon', 'Pss'


def write_rows(path: Path, rows: int) -> None:
    """Write a manifest of clips that are nowhere.

    Args:
        path: Where to.
        rows: How many.
    """
    with open(path, 'w', encoding='utf-8') as file:
        for i in range(rows):
            row = dict(
                id=f'clip_{i:08d}_{i % 30}',
                clip=f'clips/{i % 1000:03d}/clip_{i:08d}_{i % 30}.mp4',
                start=0.0,
                end=10.0,
                captions=[f'dog number {i} barks at a red car while it rains'],
                labels=['dog barking'],
            )
            file.write(json.dumps(row) + '\n')


def memory() -> dict[str, float]:
    """Memory of this process: its own, and with its share of what others have, too.

    Returns:
        ``Pss_Anon`` and ``Pss`` of Linux, in MB.
    """
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()[1:]
    sizes = {line.split(':')[0]: line.split()[1] for line in lines}
    return {name: int(sizes[name]) / 1024 for name in (START, OPENED)}


def _open(path: str, ready: Any, opened: Any, answers: Any) -> None:
    from coavt_mm.datasets import AVTDataset

    before = memory()
    ready.wait()
    since, spent = time.monotonic(), time.process_time()
    dataset = AVTDataset(path)
    took, spent = time.monotonic() - since, time.process_time() - spent
    for index in range(0, len(dataset), max(1, len(dataset) // 1000)):
        dataset.get_data_info(index)
    opened.wait()  # memory is measured while all have it open
    grown = {name: size - before[name] for name, size in memory().items()}
    answers.put(dict(rows=len(dataset), seconds=took, processor=spent, **grown))
    opened.wait()


def measure_start(rows: int, processes: int, say: Callable = print) -> dict[str, float]:
    """Open a manifest, which is written for it, in several processes; then once more.

    Args:
        rows: Of the manifest.
        processes: How many open it at the same time.
        say: Takes each line of the table.

    Returns:
        Of the first start, before anything is kept: ``seconds`` until the last one had
        it open, ``processor`` seconds of all, MB of all (``Pss_Anon``, and ``Pss``,
        which counts the pages of the file that are in memory).
    """
    context = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'train.jsonl')
        write_rows(path, rows)
        os.environ['XDG_CACHE_HOME'] = str(Path(folder, 'cache'))
        size = path.stat().st_size / 1e6
        say(f'{rows:,} rows, {size:.0f} MB, {processes} processes')
        say('| start | seconds | processor, s | memory, MB | with pages of the file |')
        say('|---|---|---|---|---|')
        first: dict[str, float] = {}
        for start in ('first', 'next'):
            found = _all(context, str(path), processes)
            total = {key: sum(one[key] for one in found) for key in found[0]}
            total['seconds'] = max(one['seconds'] for one in found)
            first = first or total
            say(
                f'| {start} | {total["seconds"]:.1f} | {total["processor"]:.1f} | '
                f'{total[START]:.0f} | {total[OPENED]:.0f} |'
            )
    return first


def _all(context: Any, path: str, processes: int) -> list[dict[str, float]]:
    ready, opened = context.Barrier(processes), context.Barrier(processes)
    answers = context.Queue()
    started = [
        context.Process(target=_open, args=(path, ready, opened, answers))
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    found = [answers.get() for _ in started]
    for process in started:
        process.join()
    return found
