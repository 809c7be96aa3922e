"""One table of what a training step costs, by part and whole, beside the baseline.

Each section of the benchmark is a function of a :class:`~.benchmark_steps.Bench` that
yields rows. A row is printed and saved when it is there, so that a run that is cut
loses nothing; a section that fails is a row of its own.
"""

import gc
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from coavt_mm.analysis import benchmark_loader, benchmark_probes, benchmark_sections
from coavt_mm.analysis.benchmark_rows import Row, failure, markdown
from coavt_mm.analysis.benchmark_steps import Bench, Options
from coavt_mm.errors import ConfigError

#: Name -> section and the most it may take in a quick run, in s, in this order.
SECTIONS: dict[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    'attention': (benchmark_probes.empty_attention, 30),
    'waits': (benchmark_probes.waits, 30),
    'optimiser': (benchmark_probes.optimisers, 20),
    'losses': (benchmark_probes.loss_curves, 40),
    'validation': (benchmark_probes.validation, 25),
    'rates': (benchmark_probes.matrix_rates, 15),
    'logmel': (benchmark_probes.spectrograms, 15),
    'parts': (benchmark_sections.parts, 40),
    'steps': (benchmark_sections.steps, 60),
    'largest': (benchmark_sections.largest, 60),
    'loader': (benchmark_loader.feed_rates, 40),
    'compiled': (benchmark_sections.compiled_steps, 400),
}
#: What is measured without ``--quick`` and ``--only``.
USUAL = ('rates', 'parts', 'steps')
QUICK_BUDGET = 230.0  # s


class OverTime(BaseException):
    """A section took longer than it may; no ``except Exception`` holds it up."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise :class:`OverTime` in the block when it takes longer.

    Only in the main thread of systems with timers; elsewhere nothing is limited.

    Args:
        seconds: The limit; None is none.
    """
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, 'setitimer'):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OverTime(f'stopped after {seconds:.0f} s')

    before = signal.signal(signal.SIGALRM, stop)
    # again and again, should somebody catch the first
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Report:
    """The rows so far, on the screen and in files.

    Attributes:
        about: What was measured where.
        json: File that holds everything, rewritten with each row; None for none.
        markdown: File with the table, likewise.
        rows: The rows.
    """

    about: dict[str, Any]
    json: str | None = None
    markdown: str | None = None
    rows: list[Row] = field(default_factory=list)

    def begin(self) -> None:
        """Print what is measured and the head of the table."""
        print(markdown(self.about, []), flush=True)

    def add(self, row: Row) -> None:
        """Print a row and save all of them."""
        self.rows.append(row)
        print(row.line(), flush=True)
        if self.json:
            rows = [asdict(row) for row in self.rows]
            text = json.dumps(dict(about=self.about, rows=rows), indent=1)
            _replace(Path(self.json), text + '\n')
        if self.markdown:
            _replace(Path(self.markdown), markdown(self.about, self.rows) + '\n')

    @property
    def failed(self) -> bool:
        """Whether a section failed."""
        return any(row.failed for row in self.rows)


def _replace(path: Path, text: str) -> None:
    """Write a file whose old content is there until the new one is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + '.new')
    new.write_text(text, encoding='utf-8')
    os.replace(new, path)


def about(options: Options) -> dict[str, Any]:
    """What is measured, and where."""
    cuda = torch.device(options.device).type == 'cuda'
    memory = torch.cuda.get_device_properties(options.device) if cuda else None
    return dict(
        command=' '.join(['benchmark.py', *sys.argv[1:]]),
        config=options.config,
        device=torch.cuda.get_device_name(options.device) if cuda else 'CPU',
        device_gib=round(memory.total_memory / 2**30, 1) if memory else None,
        processor=_processor(),
        threads=torch.get_num_threads(),
        cores=os.cpu_count(),
        torch=torch.__version__,
        python=platform.python_version(),
        date=time.strftime('%Y-%m-%d'),
    )


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(':')[2] for line in lines if line.startswith('model name')]
    return names[0].strip() if names else platform.processor() or platform.machine()


def sections_of(only: Sequence[str] | None, quick: bool, compile_: bool) -> list[str]:
    """Names of the sections to run, in their order.

    Args:
        only: Those that are asked for; None takes the usual ones.
        quick: Whether all are usual.
        compile_: Whether the compiled model is, too.

    Raises:
        ConfigError: One is unknown.
    """
    unknown = sorted(set(only or ()) - set(SECTIONS))
    if unknown:
        raise ConfigError(
            f'--only: there is no section {", ".join(unknown)}; there are '
            f'{", ".join(SECTIONS)}'
        )
    wanted = only or (SECTIONS if quick else [*USUAL, *['compiled'] * compile_])
    return [name for name in SECTIONS if name in wanted]


def run(
    bench: Bench, report: Report, names: Sequence[str], budget: float | None = None
) -> bool:
    """Run sections one after the other.

    Args:
        bench: What is measured.
        report: Where the rows go.
        names: Of the sections.
        budget: Seconds for all; each section then has its own limit as well.

    Returns:
        Whether every section came to its end.
    """
    bench.deadline = None if budget is None else bench.began + budget
    report.begin()
    for name in names:
        began, limit = time.perf_counter(), SECTIONS[name][1]
        left = bench.seconds_left()
        if left is not None and left < 1:
            report.add(Row(name, 'not begun: no time is left', failed=True))
            continue
        _attempt(bench, report, name, None if left is None else min(left, limit))
        took = time.perf_counter() - began
        print(f'{name}: {took:.1f} s', file=sys.stderr, flush=True)
    return not report.failed


def _attempt(bench: Bench, report: Report, name: str, limit: float | None) -> None:
    """Run a section; a failure is a row."""
    try:
        with time_limit(limit):
            for row in SECTIONS[name][0](bench):
                report.add(row)
    except (OverTime, Exception) as error:  # said in the table and by the status
        report.add(failure(name, 'failed', error))
    try:  # what a section leaves behind, whole or broken off
        bench.release()
        gc.collect()
        if bench.cuda:
            torch.cuda.empty_cache()
    except RuntimeError as error:  # the device is lost
        report.add(failure(name, 'the device failed', error))


def benchmark(
    options: Options,
    only: Sequence[str] | None = None,
    quick: bool = False,
    budget: float | None = None,
    json_path: str | None = None,
    markdown_path: str | None = None,
) -> bool:
    """Measure a config and report.

    Args:
        options: What is measured.
        only: Names of sections; None takes the usual ones.
        quick: Run all sections within a few minutes.
        budget: Seconds for all.
        json_path: File for the rows.
        markdown_path: File for the table.

    Returns:
        Whether every section came to its end.

    Raises:
        ConfigError: An option makes no sense here.
    """
    names = sections_of(only, quick, options.compile)
    bench = Bench(options)
    if budget is None and quick:
        budget = QUICK_BUDGET
    report = Report(about(options), json_path, markdown_path)
    return run(bench, report, names, budget)
