"""Work in processes of which any may die, on the machines of a Ray cluster.

Ray's workers do bundles of tasks. When one is lost, with its machine or over a task,
the tasks of its bundle are done in a process each, as ``run_each`` does it here.
"""

import logging
import math
import os
import socket
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import psutil

from coavt_mm import __version__
from coavt_mm.datasets.isolation import MEMORY
from coavt_mm.errors import ConfigError
from coavt_mm.preparation.processes import BUNDLE, Key, run_alone

AHEAD = 2  # bundles at a time for each processor
# So many of the files are looked for by each worker before it begins.
SAMPLES = 16
RETRIES = 3  # of a task alone, when Ray loses its worker or machine
PATIENCE = 5.0  # s, until an address that does not answer is none


@contextmanager
def joined(address: str) -> Iterator[ModuleType]:
    """Be part of a cluster; within a block, and where Ray is in use already, of that.

    Args:
        address: As ``ray.init`` takes it: 'auto', 'host:port', 'ray://host:port', or
            'local' for a cluster of this machine alone, which ends with the block.

    Yields:
        The module ``ray``.

    Raises:
        ConfigError: Ray isn't installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            'work on a cluster needs Ray: pip install "coavt-mm[scale]"'
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises that itself where a start takes too long
        why = ' '.join(str(error).split()) or type(error).__name__
        raise ConfigError(f'no Ray cluster at {address}: {why}') from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError at once where Ray would wait for minutes for nobody."""
    url = urlsplit(address if '://' in address else f'//{address}')
    if url.hostname and url.port:
        socket.create_connection((url.hostname, url.port), PATIENCE).close()


def some_files(paths: Iterable[str]) -> list[str]:
    """Some of the files that are here, from all over the list: a machine that sees them
    will see all."""
    paths = sorted(set(paths))
    step = max(1, math.ceil(len(paths) / SAMPLES))
    return [path for path in paths[::step] if os.path.exists(path)]


@lru_cache(maxsize=8)
def check_machine(version: str, files: tuple[str, ...]) -> None:
    """Refuse to work where the package or the files are others.

    Args:
        version: Of the package, where the work comes from.
        files: Absolute, that must be there.

    Raises:
        ConfigError: They are not.
    """
    name = socket.gethostname()
    if version != __version__:
        raise ConfigError(
            f'{name}: has coavt-mm {__version__}, the others {version}; install the '
            'same everywhere'
        )
    for path in files:
        if not os.path.exists(path):
            raise ConfigError(
                f'{name}: does not see {path}; all machines of the cluster must see '
                'the files under the same paths'
            )


def run_on_ray(
    function: Callable[[Any], Any],
    tasks: Mapping[Key, Any],
    address: str,
    bundle: int = BUNDLE,
    files: Sequence[str] = (),
) -> Generator[tuple[Key, Any], None, None]:
    """Do what ``run_each`` does on a cluster.

    Args:
        function: Takes a task; of a module's top level, where all machines have it.
        tasks: Key -> task.
        address: Of the cluster, see :func:`joined`.
        bundle: Most tasks that go to a process at a time.
        files: Absolute, that each machine must see.

    Raises:
        ConfigError: See :func:`joined`; or a machine lacks the files or has another
            version of the package, or Ray lost some too often.
    """
    if not tasks:
        return
    with joined(address) as ray:
        given = (__version__, tuple(files), function)
        place = dict(scheduling_strategy='SPREAD')
        bundled = ray.remote(max_retries=0, **place)(_bundled)
        alone = ray.remote(max_retries=RETRIES, **place)(_alone)
        yield from _spread(
            ray,
            tasks,
            lambda keys: bundled.remote(*given, [tasks[key] for key in keys]),
            lambda key: alone.remote(*given, tasks[key]),
            bundle,
        )


def _spread(
    ray: ModuleType,
    tasks: Collection[Key],
    do: Callable[[list[Key]], Any],
    do_alone: Callable[[Key], Any],
    bundle: int,
) -> Iterator[tuple[Key, Any]]:
    waiting, suspects, tried = iter(list(tasks)), deque[Key](), set[Key]()
    running: dict[Any, list[Key]] = {}
    while True:
        room = AHEAD * max(1, int(ray.cluster_resources().get('CPU', 0)))
        size = max(1, min(bundle, len(tasks) // room))
        while len(running) < room:
            if suspects:
                key = suspects.popleft()
                running[do_alone(key)] = [key]
            elif keys := list(islice(waiting, size)):
                running[do(keys)] = keys
            else:
                break
        if not running:
            return
        (done,), _ = ray.wait(list(running))
        keys = running.pop(done)
        try:
            found = result(ray, done)
        except ray.exceptions.RayError as error:
            if not tried.isdisjoint(keys):
                raise ConfigError(
                    f'Ray lost workers or machines {RETRIES} times over the same work '
                    f'({type(error).__name__}); the same command goes on'
                ) from error
            suspects.extend(keys)
            tried.update(keys)
        else:
            yield from zip(keys, found, strict=True)


def _bundled(
    version: str, files: tuple[str, ...], function: Callable, tasks: Sequence
) -> list:
    check_machine(version, files)
    with _limited_memory():
        return [function(task) for task in tasks]


def _alone(version: str, files: tuple[str, ...], function: Callable, task: Any) -> list:
    check_machine(version, files)
    # a fork would keep Ray's connections: a worker that dies then would not be missed
    return [run_alone(function, task, 'spawn')]


@contextmanager
def _limited_memory() -> Iterator[None]:
    """As ``limit_memory``, for a time: what Ray itself does in a worker is its own."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def result(ray: ModuleType, done: Any) -> Any:
    """What came of a remote call; what it raised, as if it had been here.

    Args:
        ray: The module.
        done: What the call gave.

    Raises:
        ConfigError: A machine does not have this package.
    """
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
    if isinstance(cause, RuntimeError) and 'failed to import' in str(cause):
        raise ConfigError(
            'a machine of the Ray cluster cannot import coavt_mm; install the same '
            'everywhere'
        ) from cause
    raise cause
