"""Work in processes of which any may die: by a decoder's crash, or for want of memory.

The pools of Python give up all their work then, and do not say whose fault it was.
"""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from coavt_mm.datasets.isolation import limit_memory

# Tasks go to the processes in bundles of this size, and this many bundles at a time for
# each process. All tasks under way are suspects when one dies.
BUNDLE, AHEAD = 8, 2

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
                yield key, _alone(function, left.pop(key))


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
    with ProcessPoolExecutor(processes, initializer=limit_memory) as pool:
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


def _alone(function: Callable, task: Any) -> Any:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_send, args=(sender, function, task))
    process.start()
    sender.close()  # here; that of the process ends with it
    with receiver:
        try:
            result = receiver.recv()
        except EOFError:
            process.join()
            return Died(process.exitcode)
    process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def _send(sender: Connection, function: Callable, task: Any) -> None:
    limit_memory()
    try:
        sender.send(function(task))
    except Exception as error:  # handed on to the process that waits
        sender.send(error)
