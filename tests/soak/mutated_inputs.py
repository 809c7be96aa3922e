"""Mutated files through the doors that users take: named errors only.

    python tests/soak/mutated_inputs.py --count 3000 --seed 0 --kind media,manifest

Each file is changed by a mutator that is drawn by the seed and handed in within a
child process. It may be taken or refused by a ``CoAVTError``; another error, a process
that dies, one that hangs or eats up the memory, and a file that lost a part and is
taken as whole are findings: the file is kept with what happened, the status is 1.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

# ends of a file that is taken: a line told that something is odd; or it is shorter than
# before a change within it, which nothing tells
TAKEN = ('taken', 'told', 'shorter picture', 'shorter sound')

MEMORY = 3 << 30  # bytes that a file may cost
RECYCLED = 300  # files that go through one process


@dataclass
class Case:
    """A changed file, and what came of it."""

    kind: str
    number: int
    end: str = ''
    about: str = ''

    @property
    def name(self) -> str:
        return f'{self.kind}-{self.number}'


@dataclass
class Child:
    """A process that takes one file at a time."""

    process: multiprocessing.Process
    pipe: Connection
    case: Case | None = None
    since: float = 0.0
    done: int = 0


@dataclass
class Result:
    """What came of all files: kind -> end -> number."""

    ends: dict[str, Counter] = field(default_factory=dict)
    findings: list[Case] = field(default_factory=list)


def change(case: Case, originals: dict, seed: str) -> tuple:
    """The original of a case, its change by name, the bytes, and what draws on."""
    from mutators import mutated

    rng = Random(f'{seed}-{case.name}')
    original = rng.choice(originals[case.kind])
    name, content = mutated(rng, original.content, original.mutators)
    return original, name, content, rng


def try_case(case: Case, originals: dict, seed: str, scratch: Path) -> Case:
    """Hand a case in; its end is one of ``TAKEN``, refused, LOST, or the name of an
    error."""
    from kinds import KINDS, Lost

    from coavt_mm.errors import CoAVTError

    original, name, content, rng = change(case, originals, seed)
    case.about = f'{original.name} {name}'
    scratch.mkdir()
    try:
        how = KINDS[case.kind].feed(original, content, scratch, rng)
        case.end = how if how in TAKEN else 'taken'
    except CoAVTError as error:
        case.end, line = 'refused', str(error)
        if len(line) > 1000 or not line.strip() or 'Traceback' in line:
            case.end, case.about = 'message', f'{case.about}: {line[:300]}'
    except Lost as error:
        case.end, case.about = 'LOST', f'{case.about}: {error}'
    except BaseException as error:
        case.end = type(error).__name__
        case.about += f': {error!s:.300}\n{traceback.format_exc(limit=-12)[-6000:]}'
    shutil.rmtree(scratch, ignore_errors=True)
    return case


def _serve(pipe: Connection, originals: dict, seed: str, home: Path) -> None:
    """The life of a child."""
    import faulthandler

    log = os.open(home / f'log-{os.getpid()}', os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(log)
    now = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter('ignore')
    while True:
        case = pipe.recv()
        if case is None:
            os._exit(0)
        os.ftruncate(log, 0)
        os.lseek(log, 0, os.SEEK_SET)
        pipe.send(try_case(case, originals, seed, home / f'case-{os.getpid()}'))


def _child(originals: dict, seed: str, home: Path) -> Child:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context('fork').Process(
        target=_serve, args=(theirs, originals, seed, home), daemon=True
    )
    process.start()
    theirs.close()
    return Child(process, ours)


def _end(child: Child, home: Path, why: str) -> Case:
    """What there is to say of a case whose process is gone, or is sent away."""
    child.process.kill()
    child.process.join()
    log = home / f'log-{child.process.pid}'
    case = child.case or Case('none', 0)
    with contextlib.suppress(OSError):
        case.about += '\n' + log.read_text('utf-8', 'replace')[:6000]
    case.end = why
    return case


def run(
    kinds: list[str],
    numbers: list[int],
    seed: str,
    workers: int,
    limit: float,
    keep: Path | None,
) -> Result:
    """Try files of some kinds, by their numbers; ``limit`` is in s for a file."""
    import torch
    from kinds import make

    torch.set_num_threads(1)
    result = Result({kind: Counter() for kind in kinds})
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        originals = make(kinds, home)
        todo = [Case(kind, n) for n in numbers for kind in kinds][::-1]
        children: list[Child] = []
        while todo or any(child.case for child in children):
            while todo and len(children) < workers:
                children.append(_child(originals, seed, home))
            for case in _next(children, todo, home, limit):
                result.ends[case.kind][case.end] += 1
                if case.end not in ('refused', *TAKEN):
                    result.findings.append(case)
                    _keep(case, originals, seed, keep)
        for child in children:
            child.process.kill()
    return result


def _next(
    children: list[Child], todo: list[Case], home: Path, limit: float
) -> list[Case]:
    """Give each idle child a case, and wait for what is done."""
    for child in children:
        if child.case is None and todo:
            child.case, child.since = todo.pop(), time.monotonic()
            child.pipe.send(child.case)
    busy = [child for child in children if child.case]
    ready = wait([child.pipe for child in busy], timeout=0.5)
    found = []
    for child in busy:
        gone = time.monotonic() - child.since > limit
        if child.pipe in ready:
            try:
                found.append(child.pipe.recv())
                child.case, child.done = None, child.done + 1
                gone = child.done >= RECYCLED
                if gone:
                    child.process.kill()
            except EOFError:
                child.process.join()
                found.append(_end(child, home, f'died ({child.process.exitcode})'))
                gone = True
        elif gone:
            found.append(_end(child, home, f'over {limit:g} s'))
        if gone:
            children.remove(child)
    return found


def _keep(case: Case, originals: dict, seed: str, keep: Path | None) -> None:
    first = case.about.splitlines()[0][:200]
    print(f'{case.name} {case.end}: {first!r}', flush=True)
    if keep is None:
        return
    folder = keep / case.name
    folder.mkdir(parents=True, exist_ok=True)
    original, _, content, _ = change(case, originals, seed)
    (folder / original.name).write_bytes(content)
    about = f'seed {seed}: {case.end}\n{case.about}\n'
    (folder / 'finding.txt').write_text(about, 'utf-8', 'backslashreplace')


def main() -> int:
    from kinds import KINDS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=3000, help='files, of all kinds')
    parser.add_argument('--seed', default='0', help='another gives other files')
    parser.add_argument('--kind', default=','.join(KINDS), help='some of these')
    parser.add_argument('--number', type=int, help='that of a finding, to try it again')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--limit', type=float, default=25.0, help='s for a file')
    parser.add_argument('--keep', type=Path, help='folder for the files of findings')
    args = parser.parse_args()
    kinds = args.kind.split(',')
    numbers = [*range(-(-args.count // len(kinds)))]
    if args.number is not None:
        numbers = [args.number]
    begun = time.monotonic()
    result = run(kinds, numbers, args.seed, args.workers, args.limit, args.keep)
    for kind, ends in result.ends.items():
        print(f'{kind}: {ends.total()} files:', dict(ends.most_common()))
    print(f'{time.monotonic() - begun:.0f} s, {len(result.findings)} findings')
    return 1 if result.findings else 0


if __name__ == '__main__':
    sys.exit(main())
