"""Work in processes of which any may die: by a decoder's crash, or for want of memory.

The pools of Python give up all their work then, and do not say whose fault it was.
"""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from coavt_mm.datasets.isolation import limit_memory
from coavt_mm.errors import ConfigError

# Tasks go to the processes in bundles of this size, and this many bundles at a time for
# each process. All tasks under way are suspects when one dies.
BUNDLE, AHEAD = 8, 2

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

    When a process dies, those tasks that were under way are tried in a process each;
    the one that kills its process again gives a ``Died``, and the rest goes on.

    Args:
        function: Takes a task; of a module's top level. In a process it has the memory
            of :func:`~coavt_mm.datasets.isolation.limit_memory`.
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
    left = dict(tasks)
    while left:
        running: dict[Future, list[Key]] = {}
        try:
            for key, result in _pooled(function, left, workers, running, bundle):
                del left[key]
                yield key, result
        except BrokenProcessPool:
            suspects = [key for keys in running.values() for key in keys]
            for key in suspects or list(left)[:1]:
                yield key, run_alone(function, left.pop(key))


def _pooled(
    function: Callable,
    tasks: dict[Key, Any],
    workers: int,
    running: dict[Future, list[Key]],
    most: int,
) -> Iterator[tuple[Key, Any]]:
    size = max(1, min(most, len(tasks) // (AHEAD * workers)))
    waiting = iter(list(tasks))
    processes = min(workers, len(tasks))
    context = safe_context()
    with ProcessPoolExecutor(processes, context, initializer=limit_memory) as pool:
        while True:
            while len(running) < AHEAD * workers:
                keys = list(islice(waiting, size))
                if not keys:
                    break
                bundle = [tasks[key] for key in keys]
                running[pool.submit(_results, function, bundle)] = keys
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                results = future.result()
                yield from zip(running.pop(future), results, strict=True)


def _results(function: Callable, bundle: list) -> list:
    return [function(task) for task in bundle]


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
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, task))
    process.start()
    sender.close()  # here; that of the process ends with it
    with receiver:
        begun = False
        try:
            begun = receiver.recv()
            result = receiver.recv()
        except EOFError as error:
            process.join()
            died = Died(process.exitcode)
            if not begun:  # no fault of the task
                raise ConfigError(NEVER_BEGAN.format(died)) from error
            return died
    process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def _send(sender: Connection, function: Callable, task: Any) -> None:
    limit_memory()
    sender.send(True)
    try:
        sender.send(function(task))
    except Exception as error:  # handed on to the process that waits
        sender.send(error)
