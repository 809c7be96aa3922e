"""Work in processes of which any may die: by a decoder's crash, or for want of memory.

The pools of Python give up all their work then, do not say whose fault it was, and may
wait for ever for a process that starts while another one dies.
"""

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from coavt_mm.datasets.isolation import limit_memory
from coavt_mm.errors import ConfigError

# Most tasks that go to a process at a time. When it dies, it was over the first of them
# that it has not answered.
BUNDLE = 8

NEVER_BEGAN = (
    'the processes for the work can not start ({}); what they say stands above. A '
    "script whose process has threads must do its work below `if __name__ == '__main__'"
    ':`, as they import it again; or give workers=0'
)

Key = TypeVar('Key', bound=Hashable)


@dataclass(frozen=True)
class Died:
    """What comes in the place of a result when a process died over a task.

    Args:
        status: Its exit status; below 0: minus the signal.
    """

    status: int | None

    def __str__(self) -> str:
        if self.status is None or self.status >= 0:
            return f'exit status {self.status}'
        number = -self.status
        name = next((s.name for s in signal.Signals if s == number), f'signal {number}')
        return name + (', out of memory?' if name == 'SIGKILL' else '')


def safe_context() -> BaseContext:
    """How processes start: forked, which is quick, unless this one has threads.

    A fork takes over the locks that they hold at that moment, for good. A notebook has
    threads, a page's server, a process after some tests.
    """
    can_fork = sys.platform == 'linux' and threading.active_count() == 1
    return multiprocessing.get_context('fork' if can_fork else 'forkserver')


def run_each(
    function: Callable[[Any], Any],
    tasks: Mapping[Key, Any],
    workers: int,
    bundle: int = BUNDLE,
) -> Generator[tuple[Key, Any], None, None]:
    """Yield key and result of each task, as they come.

    When a process dies, the task that it was at is tried once more, in a process of its
    own; if it kills that, too, it gives a ``Died``. The rest goes on.

    Args:
        function: Takes a task; of a module's top level. In a process it has the memory
            of :func:`~coavt_mm.datasets.isolation.limit_memory`. It is ended at any
            place when the work is left before its end.
        tasks: Key -> task.
        workers: Processes; 0 works in this one, which dies with a task then.
        bundle: Most tasks that go to a process at a time.

    Raises:
        ConfigError: No process starts: this one has threads, and its main program does
            all its work where it is imported.
    """
    if workers < 1:
        yield from ((key, function(task)) for key, task in tasks.items())
        return
    waiting, crew = deque(tasks), list[_Worker]()
    size = max(1, min(bundle, len(tasks) // (2 * workers)))
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                crew.append(_Worker(function, safe_context(), crew))
                crew[-1].give(tasks, waiting, size)
            for worker in _ready(crew):
                key = worker.keys.popleft()
                result = worker.result()
                if isinstance(result, Died):
                    waiting.extendleft(reversed(worker.keys))
                    worker.keys.clear()
                    result = run_alone(function, tasks[key])
                elif not worker.keys:
                    worker.give(tasks, waiting, size)
                if not worker.keys:
                    crew.remove(worker)
                    worker.end()
                yield key, result
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that does what it is given, and answers in that order.

    Args:
        function: As for ``run_each``.
        context: How the process is started.
        others: Those that are there already.
    """

    begun = False

    def __init__(
        self,
        function: Callable[[Any], Any],
        context: BaseContext,
        others: Iterable['_Worker'] = (),
    ):
        self.keys = deque[Any]()  # of the tasks that are not answered
        self.line, its = context.Pipe()
        # A fork has the ends of this process as well, and would keep them open when
        # this one is gone: then nobody would notice.
        forked = context.get_start_method() == 'fork'
        ours = [self.line, *(other.line for other in others)] if forked else []
        arguments = (its, function, ours)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        its.close()

    def give(self, tasks: Mapping, waiting: deque, most: int) -> None:
        """Hand it its next tasks, as far as there are any.

        It has answered all before, so it reads, and this can't wait for it for long.
        """
        self.keys.extend(waiting.popleft() for _ in range(min(most, len(waiting))))
        with suppress(OSError):  # it is dead, which the next look at its answer shows
            self.line.send([tasks[key] for key in self.keys])

    def begin(self) -> None:
        """Wait until it is there.

        Raises:
            ConfigError: It is not, which is no fault of a task.
        """
        try:
            self.begun = self.line.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            died = Died(self.process.exitcode)
            raise ConfigError(NEVER_BEGAN.format(died)) from error

    def result(self) -> Any:
        """Its next answer, or ``Died``; an error of the function is raised here."""
        try:
            result = self.line.recv()
        except (EOFError, OSError):  # also in the midst of an answer
            self.process.join()
            return Died(self.process.exitcode)
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        """End it, in the midst of a task if it is at one."""
        self.line.close()  # which ends one that waits
        if self.keys:
            self.process.kill()
        self.process.join()


def _ready(crew: Sequence[_Worker]) -> list[_Worker]:
    """Those that have an answer, or are dead."""
    ready = wait([worker.line for worker in crew])
    found = [worker for worker in crew if worker.line in ready]
    for worker in (fresh := [worker for worker in found if not worker.begun]):
        worker.begin()
    return [worker for worker in found if worker not in fresh]


def run_alone(function: Callable, task: Any, start: str | None = None) -> Any:
    """Do a task in a process of its own.

    Args:
        function: As for ``run_each``.
        task: What it takes.
        start: How the process is started, as ``multiprocessing`` names it; None: as
            :func:`safe_context` says.

    Returns:
        The result, or ``Died``.

    Raises:
        ConfigError: The process does not start.
    """
    context: Any = multiprocessing.get_context(start) if start else safe_context()
    worker = _Worker(function, context)
    try:
        worker.give(dict(task=task), deque(['task']), 1)
        worker.begin()
        result = worker.result()
        worker.keys.clear()
        return result
    finally:
        worker.end()


def _serve(line: Connection, function: Callable, ends: list[Connection]) -> None:
    for end in ends:
        end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all
    limit_memory()
    line.send(True)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody asks
        while True:
            for task in line.recv():
                line.send_bytes(_answer(function, task))


def _answer(function: Callable, task: Any) -> Any:
    try:
        return ForkingPickler.dumps(function(task))
    except Exception as error:  # handed on to the process that waits
        return ForkingPickler.dumps(ExceptionWithTraceback(error, error.__traceback__))
