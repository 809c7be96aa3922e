"""Kill a small training at random moments, go on, and compare with an undisturbed one.

    python tests/soak.py --kills 25
    python tests/soak.py --kinds ranks --minutes 120 --seed 1
    python tests/soak.py --kills 0 --inputs 3600 --calls 200

A run of the demo's config, made small, is killed by SIGKILL while it starts, trains or
saves: its processes all at once, or one of them. It is started again with --resume
until it has come to its end; then all that its last checkpoint holds is compared, bit
by bit. Exits with 1 if a run differs, hangs, or leaves processes behind. Before that,
with --inputs and --calls, go the mutated files of soak/mutated_inputs.py and the many
calls of soak/many_calls.py.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import psutil
import torch

ROOT = Path(__file__).parents[1]
KINDS = ('raw', 'shards', 'ranks')
ITERATIONS, INTERVAL, PATIENCE = 24, 2, 180  # PATIENCE in s
MOMENTS = ('start', 'step', 'save')


def make_data(root: Path) -> None:
    """Ten clips, raw and as shards, and a config of each kind."""
    from media_files import write_clip
    from small_configs import small
    from small_runs import DEMO, WORDS

    from coavt_mm.preparation.shards import Settings, make_shards

    (root / 'vocab.txt').write_text('\n'.join(WORDS) + '\n')
    rows = []
    for i in range(10):
        write_clip(root / f'{i}.mp4', frequency=200.0 + 50 * i, seconds=1 + i / 10)
        texts = dict(captions=[f'a red star {i}', f'star {i}'], labels=['star'])
        texts |= dict(visual_captions=[f'red {i}'], audio_captions=[f'a star {i}'])
        rows.append(dict(id=str(i), clip=f'{i}.mp4', **texts))
    lines = '\n'.join(map(json.dumps, rows)) + '\n'
    for name in ('train', 'val', 'test'):
        (root / f'{name}.jsonl').write_text(lines)
    settings = Settings(num_frames=10, short_side=48)
    rows_of = root / 'train.jsonl'
    make_shards(rows_of, root / 'shards', str(root), settings=settings, per_shard=4)
    for kind in KINDS:
        cfg = small(DEMO, root, root / 'run')
        cfg.train_dataloader.update(
            batch_size=2, num_workers=1, persistent_workers=True
        )
        cfg.train_dataloader.pop('num_batch_per_epoch')
        cfg.train_dataloader.sampler.curriculum = []
        if kind == 'shards':
            cfg.train_dataloader.sampler.update(type='ShardSampler', buffer=4)
            index = str(root / 'shards/index.jsonl')
            cfg.train_dataloader.dataset.update(
                type='AVTShardDataset', ann_file=index, data_root=str(root / 'shards')
            )
        cfg.train_cfg = dict(
            type='ResumableIterLoop', max_iters=ITERATIONS, val_interval=9
        )
        cfg.default_hooks.checkpoint.update(interval=INTERVAL, keep_every=10)
        cfg.default_hooks.logger.interval = 3
        cfg.custom_hooks = [
            *cfg.get('custom_hooks', []), dict(type='EMAHook', momentum=0.1)
        ]  # fmt: skip
        cfg.visualizer = None
        cfg.dump(root / f'{kind}.py')


def start(config: Path, work_dir: Path, *settings: str) -> subprocess.Popen:
    """Start the training, or go on with it, in a process group of its own."""
    command = [str(config), '--work-dir', str(work_dir), '--resume']
    launch = [str(ROOT / 'tools/train.py')]
    if config.stem == 'ranks':
        meet = ['--standalone', '--local_addr=127.0.0.1', '--nproc_per_node=2']
        launch = ['-m', 'torch.distributed.run', *meet, *launch]
        command += ['--launcher', 'pytorch']
    if settings:
        command += ['--cfg-options', *settings]
    log = open(work_dir.with_suffix('.log'), 'ab')  # noqa: SIM115
    environ = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    return subprocess.Popen(
        [sys.executable, *launch, *command],
        stdout=log, stderr=log, env=environ, start_new_session=True, cwd=ROOT,
    )  # fmt: skip


def trainers(launched: subprocess.Popen) -> list[psutil.Process]:
    """Processes of a run that train: itself, or the ranks below a launcher."""
    with suppress(psutil.Error):
        first = psutil.Process(launched.pid)
        if '-m' in first.cmdline():
            return first.children()
        return [first]
    return []


def alive(work_dir: Path) -> list[psutil.Process]:
    """Processes of a run, known by its folder: the ranks have sessions of their own."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            there = process.status() != psutil.STATUS_ZOMBIE
            if there and str(work_dir) in process.cmdline():
                found.append(process)
    return found


def end(work_dir: Path) -> None:
    """Kill all processes of a run."""
    for process in alive(work_dir):
        with suppress(psutil.Error):
            process.kill()


def wait_for(what, limit: float = PATIENCE, pause: float = 0.002) -> bool:
    """Whether something comes true within the limit, in s."""
    until = time.monotonic() + limit
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def await_moment(kind: str, chance: random.Random, run, work_dir: Path, pace: float):
    """Wait for a moment to kill; False if the run has ended before."""
    if kind == 'start':
        wait_for(lambda: run.poll() is not None, chance.uniform(0, pace), 0.02)
        return run.poll() is None
    note = work_dir / 'last_checkpoint'

    def stamp():
        return note.stat().st_mtime_ns if note.exists() else 0

    before = stamp()
    wait_for(lambda: stamp() != before or run.poll() is not None)
    if kind == 'save':
        unfinished = work_dir / 'unfinished.tmp'
        wait_for(lambda: unfinished.exists() or run.poll() is not None, pause=0)
        time.sleep(chance.choice([0, 0.001, 0.003, 0.01, 0.03]))
    else:
        time.sleep(chance.uniform(0, pace / 3))
    return run.poll() is None


def strike(victim: str, run: subprocess.Popen, work_dir: Path) -> None:
    """Kill all processes of a run, or one of them."""
    if victim == 'all':
        end(work_dir)
    elif victim == 'launcher' or not (ranks := trainers(run)):
        os.kill(run.pid, signal.SIGKILL)
    else:
        with suppress(psutil.Error):
            ranks[int(victim[-1]) % len(ranks)].kill()


def content(path: Path) -> dict:
    """Name -> value of all that a checkpoint holds and time does not change."""
    saved, found = torch.load(path, weights_only=False), {}

    def walk(name, node):
        if isinstance(node, dict):
            for key, value in node.items():
                walk(f'{name}.{key}', value)
        elif isinstance(node, list | tuple):
            walk(name, dict(enumerate(node)))
        elif hasattr(node, '_log_history'):
            found[f'{name}.history'] = np.stack(
                [node._log_history, node._count_history]
            )
        else:
            found[name] = node

    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers',
                 'message_hub'):  # fmt: skip
        walk(part, saved[part])
    clock = ['time', 'memory', 'best_ckpt', 'last_ckpt']
    # those behind a save are made again
    clock += ['log_scalars.val/']
    walk('meta', {key: saved['meta'][key] for key in ('iter', 'epoch', 'seed', 'cfg')})
    found.pop('meta.cfg')
    return {k: v for k, v in found.items() if not any(word in k for word in clock)}


def differences(one: dict, other: dict) -> list[str]:
    """Names of values that are not equal, to the bit."""
    odd = [*(one.keys() ^ other.keys())]
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if isinstance(a, torch.Tensor):
            same = a.dtype == b.dtype and torch.equal(a, b)
        else:
            same = np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        if not same:
            odd.append(name)
    return sorted(odd)


class Soak:
    """Kills of one kind of run, and what came of them.

    Args:
        root: Folder with the data.
        kind: Of :data:`KINDS`.
        seed: Of moments and victims.
    """

    def __init__(self, root: Path, kind: str, seed: int):
        self.root, self.kind = root, kind
        self.chance = random.Random(f'{kind} {seed}')
        self.killed: Counter = Counter()
        self.faults: list[str] = []
        self.runs = 0

    def whole(self) -> None:
        """The undisturbed run."""
        since = time.monotonic()
        run = start(self.config, self.root / f'{self.kind}_whole')
        if run.wait(600):
            raise SystemExit(
                f'{self.kind}: the undisturbed run failed, see {self.root}'
            )
        self.pace = (time.monotonic() - since) / 2
        self.wanted = content(self.last('whole'))

    @property
    def config(self) -> Path:
        return self.root / f'{self.kind}.py'

    def last(self, name: str) -> Path:
        return self.root / f'{self.kind}_{name}' / f'iter_{ITERATIONS}.pth'

    def kill(self, kills: int, until: float) -> None:
        """Kill so often, and compare each run that has come to its end."""
        left = kills
        while left > 0 and time.monotonic() < until:
            self.runs += 1
            name = f'run{self.runs}'
            left = self._one_run(name, left, until)
            if self.last(name).exists():
                odd = differences(self.wanted, content(self.last(name)))
                if odd:
                    self.faults.append(f'{name}: {len(odd)} values differ: {odd[:5]}')

    def _one_run(self, name: str, left: int, until: float) -> int:
        """A run to its end; how many kills are left then."""
        beside = f'default_hooks.checkpoint.async_save={self.runs % 2 == 0}'
        work_dir = self.root / f'{self.kind}_{name}'
        while True:
            run = start(self.config, work_dir, beside)
            try:
                if left > 0 and time.monotonic() < until:
                    left -= self._strike_once(run, work_dir)
                if not self._ends(name, run, work_dir):
                    return left
            finally:
                end(work_dir)
                run.wait()
            if run.returncode == 0 and self.last(name).exists():
                return left
            if run.returncode not in (-9, 1, 75):
                self.faults.append(f'{name}: ended with {run.returncode}')
            if run.returncode > 0 and left <= 0 and self.failures(name) > 60:
                self.faults.append(f'{name}: does not come to its end')
                return left

    def _ends(self, name: str, run: subprocess.Popen, work_dir: Path) -> bool:
        """Whether a run that was struck ends, and leaves no process behind."""
        if not wait_for(lambda: run.poll() is not None, 3 * PATIENCE, 0.05):
            self.faults.append(f'{name}: hangs')
            return False
        if not wait_for(lambda: not alive(work_dir), 60, 0.1):
            said = [' '.join(p.cmdline()[:4]) for p in alive(work_dir)]
            self.faults.append(f'{name}: left behind: {said}')
        return True

    def failures(self, name: str) -> int:
        """How many starts of a run are in its log that ended in an error."""
        log = (self.root / f'{self.kind}_{name}.log').read_text('utf-8', 'replace')
        return log.count('Error: ')

    def _strike_once(self, run: subprocess.Popen, work_dir: Path) -> int:
        moment = self.chance.choice(MOMENTS)
        victims = ('all', 'rank 0', 'rank 1', 'launcher')
        victim = self.chance.choice(victims if self.kind == 'ranks' else victims[:2])
        if not await_moment(moment, self.chance, run, work_dir, self.pace):
            return 0
        strike(victim, run, work_dir)
        self.killed[f'{moment}, {victim}'] += 1
        print(f'{self.kind}: {sum(self.killed.values())} killed', flush=True)
        return 1

    def report(self) -> str:
        """What came of it, in Markdown."""
        how = ', '.join(f'{n} x {what}' for what, n in sorted(self.killed.items()))
        end = '; '.join(self.faults) or f'{len(self.wanted)} values equal to the bit'
        total = sum(self.killed.values())
        return f'| {self.kind} | {total} | {self.runs} | {end} |\n  ({how})'


def main() -> int:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=25, help='of each kind of run')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
    parser.add_argument('--seed', type=int, default=0, help='of moments and victims')
    parser.add_argument('--minutes', type=float, default=1e9, help='at most, each kind')
    parser.add_argument('--folder', type=Path, help='stays; default: a temporary one')
    parser.add_argument('--inputs', type=int, default=0, help='mutated files')
    parser.add_argument('--calls', type=int, default=0, help='calls at a time')
    args = parser.parse_args()
    failed = [
        script
        for script, count in (
            ('mutated_inputs', args.inputs),
            ('many_calls', args.calls),
        )
        if count and run_script(script, count, args.seed)
    ]
    return int(kill_runs(args) or bool(failed)) if args.kills else int(bool(failed))


def run_script(name: str, count: int, seed: int) -> int:
    """The exit status of another soak."""
    script = ROOT / 'tests' / 'soak' / f'{name}.py'
    given = ['--count', str(count), '--seed', str(seed)]
    return subprocess.run([sys.executable, str(script), *given]).returncode


def kill_runs(args: Namespace) -> bool:
    """Kill and compare; whether something was wrong."""
    root = args.folder or Path(mkdtemp(prefix='soak'))
    root.mkdir(parents=True, exist_ok=True)
    make_data(root)
    soaks = [Soak(root, kind, args.seed) for kind in args.kinds]
    for soak in soaks:
        soak.whole()
        soak.kill(args.kills, time.monotonic() + args.minutes * 60)
    print(
        '| data | kills | runs | compared with an undisturbed run |\n|---|---|---|---|'
    )
    print('\n'.join(soak.report() for soak in soaks))
    return any(soak.faults for soak in soaks)


if __name__ == '__main__':
    sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]
    sys.exit(main())
