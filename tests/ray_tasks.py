"""Tasks for the workers of a Ray cluster, and a stand-in for Ray."""

import os
import signal
import socket
from pathlib import Path
from types import ModuleType, SimpleNamespace

#: For the workers of a cluster of this machine, which don't know where tests lie.
PATHS = os.pathsep.join(map(str, [Path(__file__).parent, Path(__file__).parents[1]]))


def lose_once(mark):
    """Kill the process, the first time."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 'done'


def fill(size):
    """Take so much memory."""
    try:
        return len(bytearray(size))
    except MemoryError:
        return 'out of memory'


def start(ray):
    """A cluster of two cores, without what costs time."""
    env = dict(env_vars=dict(PYTHONPATH=PATHS + os.pathsep + os.environ['PYTHONPATH']))
    ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False,
             object_store_memory=100 << 20, runtime_env=env)  # fmt: skip


class _Error(Exception):
    def __init__(self, cause=None):
        self.cause = cause


class StandIn(ModuleType):
    """Calls are made when they are waited for, last ones first, in this process.

    Args:
        cores: Of its machine.
    """

    def __init__(self, cores=2):
        super().__init__('ray')
        self.cores, self.inits, self.ended, self.lost = cores, [], 0, []
        self.asked = []
        self.exceptions = SimpleNamespace(
            RayError=_Error,
            RayTaskError=type('RayTaskError', (_Error,), {}),
            RayActorError=type('RayActorError', (_Error,), {}),
        )

    def init(self, address, **options):
        self.inits.append(address)

    def is_initialized(self):
        return len(self.inits) > self.ended

    def shutdown(self):
        self.ended += 1

    def cluster_resources(self):
        return dict(CPU=float(self.cores))

    def nodes(self):
        return [dict(Alive=True, Resources=self.cluster_resources())]

    def remote(self, *args, **options):
        if not args:
            self.asked.append(options)
            return self.remote
        (thing,) = args
        if not isinstance(thing, type):
            return _Remote(self, thing)
        made = []

        def make(*given):
            actor, number = thing(*given), len(made)
            made.append(actor)
            names = [name for name in dir(thing) if not name.startswith('_')]
            return SimpleNamespace(**{
                name: _Remote(self, getattr(actor, name), number) for name in names
            })  # fmt: skip

        return SimpleNamespace(remote=make)

    def wait(self, calls):
        return calls[-1:], calls[:-1]

    def get(self, call):
        function, args, actor = call.given
        if actor is None and function.__name__ in self.lost:
            raise self.exceptions.RayError
        if (actor, function.__name__) in self.lost:
            raise self.exceptions.RayActorError
        try:
            return function(*args)
        except Exception as error:
            raise self.exceptions.RayTaskError(error) from None


class _Remote:
    def __init__(self, ray, function, actor=None):
        self.ray, self.function, self.actor = ray, function, actor

    def remote(self, *args):
        return _Call(self.function, args, self.actor)


class _Call:
    def __init__(self, *given):
        self.given = given


def nobody_listens():
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{free.getsockname()[1]}'
