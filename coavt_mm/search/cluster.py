"""Clips are embedded by the machines of a Ray cluster; one process writes them down.

Each of Ray's processes holds the model, and does two batches of clips at a time, so
that one is read while the other is at the model.
"""

import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

from coavt_mm import __version__
from coavt_mm.apis import CoAVTInferencer, load_model
from coavt_mm.errors import ConfigError, SearchError
from coavt_mm.preparation.on_ray import check_machine, joined, result, some_files
from coavt_mm.search.index import model_hash, place
from coavt_mm.search.reading import Embedded, embedded
from coavt_mm.search.scanning import Source

AT_ONCE = 2  # batches that a process has
TRIES = 3  # processes that may die over a batch


@dataclass(frozen=True)
class OnRay:
    """What embeds the clips of an index, in the place of ``embedded``.

    Args:
        address: Of the cluster, see :func:`~coavt_mm.preparation.on_ray.joined`.
        checkpoint, config: The model's; all machines must see them.
        device: Default: GPUs where the cluster has any, then CPUs.
    """

    address: str
    checkpoint: str
    config: str | None = None
    device: str | None = None

    def __call__(
        self,
        inferencer: CoAVTInferencer,
        wanted: Iterable[Source],
        batch_size: int,
        workers: int,
        hop: float | None,
    ) -> Iterator[Embedded]:
        """Embed clips, as they come; see :func:`~coavt_mm.search.reading.embedded`.

        Args:
            inferencer: With the same model.
            wanted: The clips.
            batch_size: Windows that go through the model at once, and clips that go to
                a process at once.
            workers: Threads that read, and cores, of each process at most.
            hop: From one window to the next in s; None: windows don't overlap.

        Raises:
            ConfigError: There is no such cluster, or a machine lacks what it needs.
            SearchError: Processes died again and again.
        """
        clips = list(wanted)
        if not clips:
            return
        own = dict(checkpoint=place(self.checkpoint, inferencer))
        if self.config:
            own['config'] = os.path.abspath(self.config)
        files = [
            *own.values(),
            *some_files([path for clip in clips for path in clip.files]),
        ]
        with joined(self.address) as ray:
            count, share = shares(ray.nodes(), workers, self.device)
            own['device'] = 'cuda' if 'num_gpus' in share else 'cpu'
            asked = (own, model_hash(inferencer), __version__, tuple(files))
            options = (batch_size, max(1, int(share['num_cpus'])), hop)
            kind = ray.remote(max_concurrency=AT_ONCE, **share)(_Embedder)
            crew = _Crew(ray, lambda: kind.remote(asked, options), count)
            waiting = iter(clips)
            chunks = iter(lambda: list(islice(waiting, batch_size)), [])
            yield from crew.work(chunks)


def shares(
    nodes: Sequence[dict], workers: int, device: str | None
) -> tuple[int, dict[str, float]]:
    """How many processes, and what each asks Ray for.

    Args:
        nodes: From ``ray.nodes()``.
        workers: Cores of a process at most.
        device: 'cpu', 'cuda' or None.

    Raises:
        ConfigError: The cluster has nothing of that.
    """
    machines = [node['Resources'] for node in nodes if node['Alive']]
    cores = [int(machine.get('CPU', 0)) for machine in machines]
    cards = [0 if device == 'cpu' else int(m.get('GPU', 0)) for m in machines]
    if any(cards):
        each = [c // g for c, g in zip(cores, cards, strict=True) if g]
        return sum(cards), dict(num_gpus=1, num_cpus=min(workers, *each))
    if device not in (None, 'cpu') or not any(cores):
        raise ConfigError(f'the Ray cluster has no {device or "cpu"} to embed with')
    most = min(workers, max(cores))
    return sum(c // most for c in cores), dict(num_cpus=most)


class _Embedder:
    """A process of Ray's that holds the model."""

    def __init__(self, asked: tuple, options: tuple):
        self.asked, self.options = asked, options

    def load(self) -> None:
        """Load the model; here, so that its errors are ours and not Ray's."""
        given, digest, version, files = self.asked
        check_machine(version, files)
        self.model = load_model(**given, show_progress=False, isolate=True)
        if model_hash(self.model) != digest:
            raise SearchError(
                f'{given["checkpoint"]}: is another model on {socket.gethostname()}'
            )

    def embed(self, clips: Sequence[Source]) -> list[Embedded]:
        """Embed a batch of clips."""
        return list(embedded(self.model, clips, *self.options))


class _Crew:
    """Processes that take batches of clips as soon as they have the model.

    Ray may lose some: their batches go to others, and new ones are asked for.
    """

    def __init__(self, ray: ModuleType, hire: Any, count: int):
        self.ray, self.hire = ray, hire
        self.running: dict[Any, tuple[Any, list[Source] | None]] = {}
        self.tries: Counter = Counter()
        self.again: deque[list[Source]] = deque()
        for _ in range(count):
            self._new()

    def _new(self) -> None:
        actor = self.hire()
        self.running[actor.load.remote()] = actor, None

    def work(self, chunks: Iterator[list[Source]]) -> Iterator[Embedded]:
        """Yield what they give for batches, as it comes."""
        left, free = True, list[Any]()  # a process is free as often as it has room
        while True:
            while left and free:
                chunk = self.again.popleft() if self.again else next(chunks, None)
                if chunk is None:
                    left = False
                else:
                    actor = free.pop()
                    self.running[actor.embed.remote(chunk)] = actor, chunk
            if not left and not any(chunk for _, chunk in self.running.values()):
                return
            (done,), _ = self.ray.wait(list(self.running))
            actor, chunk = self.running.pop(done)
            try:
                found = result(self.ray, done)
            except self.ray.exceptions.RayActorError as error:
                self._lost(actor, chunk, error)
                left, free = True, [each for each in free if each is not actor]
                continue
            if chunk is None:
                self.tries.pop(None, None)
            free += [actor] * (AT_ONCE if chunk is None else 1)
            yield from found or ()

    def _lost(self, actor: Any, chunk: list[Source] | None, error: Exception) -> None:
        """Give its batches to others, and look for a new one."""
        theirs = [ref for ref, (other, _) in self.running.items() if other is actor]
        for lost in [chunk, *(self.running.pop(ref)[1] for ref in theirs)]:
            key = lost and lost[0].key
            self.tries[key] += 1
            if self.tries[key] == TRIES:
                raise SearchError(
                    f'{TRIES} processes of the Ray cluster died over the same work; '
                    'what was indexed is safe, and the same command goes on'
                ) from error
            if lost:
                self.again.append(lost)
        self._new()
