"""A run that is told to stop saves, and goes on as if it had never stopped."""

import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import Signalled, freeze_worker, run_two_ranks, stop_worker
from torch.multiprocessing import ProcessExitedException
from torch.utils.data import DataLoader

from coavt_mm.cli import launch
from coavt_mm.cli import running as cli_running
from coavt_mm.cli.launchers import PARENT
from coavt_mm.engine import CheckpointHook, stopping
from coavt_mm.engine.stopping import STOPPED, StopHook, shield_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(toy_config, tmp_path, monkeypatch):
    """Trains the toy, with a signal before a step, and gives the status."""

    def run(folder, *settings, at=-1, number=signal.SIGTERM, resume=False):
        def build(*args, real=cli_running.build_runner):
            runner = real(*args)
            runner.register_hook(Signalled(at, number))
            return runner

        command = [toy_config, '--work-dir', str(tmp_path / folder)]
        command += ['--resume'] * resume + [
            '--cfg-options',
            'param_scheduler.0.T_max=7',
        ]
        with monkeypatch.context() as patched:
            patched.setattr(cli_running, 'build_runner', build)
            try:
                launch.train([*command, *settings])
            except SystemExit as end:
                return end.code
        return 0

    return run


def weights(path) -> dict:
    saved = torch.load(path, weights_only=False)
    state = {**saved['state_dict'], **saved['ema_state_dict']}
    for index, values in saved['optimizer']['state'].items():
        state |= {f'{index}.{name}': value for name, value in values.items()}
    return state


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    'settings, at, saved',
    [
        ([], 2, 2),
        ([], 4, 4),  # where one is saved anyway
        (['optim_wrapper.accumulative_counts=3'], 4, 6),
        (['train_dataloader.num_workers=1'], 3, 3),
    ],
)
def test_a_stopped_run_goes_on_to_the_digit(
    train, tmp_path, number, settings, at, saved
):
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    assert train('whole', *settings) == 0
    assert train('cut', *settings, at=at, number=number) == STOPPED == 75
    note = (tmp_path / 'cut/last_checkpoint').read_text()
    assert note == str(tmp_path / f'cut/iter_{saved}.pth')
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == handlers
    assert train('cut', *settings, resume=True) == 0
    whole, cut = (weights(tmp_path / f / 'iter_7.pth') for f in ('whole', 'cut'))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_in_the_last_step_the_run_is_done_anyway(train, tmp_path):
    assert train('run', at=7) == 0
    assert (tmp_path / 'run/iter_7.pth').is_file()


def test_an_epoch_that_is_not_done_is_not_saved():
    """Its number would say that it is."""
    hook = CheckpointHook(by_epoch=True)
    runner = SimpleNamespace(hooks=[hook], train_loop=None, iter=4)
    said = StopHook()._save(runner)
    assert said == (
        'ends with status 75 behind iteration 5; --resume goes on from the last '
        'checkpoint'
    )


def test_a_second_sigterm_ends_at_once():
    code = """
import os, signal, time
from coavt_mm.engine import CheckpointHook, stopping
from coavt_mm.engine.stopping import StopHook
with StopHook().listening():
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_two_processes_stop_behind_the_same_step(toy_config, tmp_path):
    run_two_ranks(stop_worker, toy_config, str(tmp_path))
    ended = {(tmp_path / f'ended.{rank}').read_text() for rank in (0, 1)}
    assert ended == {f'{STOPPED} 4'}
    assert (tmp_path / 'iter_4.pth').is_file()


@pytest.mark.slow
def test_a_process_that_is_frozen_ends_the_other_in_a_line(toy_config, tmp_path):
    with pytest.raises(ProcessExitedException):  # killed in the end
        run_two_ranks(freeze_worker, toy_config, str(tmp_path))
    took, _, line = (tmp_path / 'said').read_text().partition(' ')
    assert 2 <= int(took) < 60
    assert 'gone, frozen or late' in line and 'dist_cfg.timeout' in line
    assert '\n' not in line


def test_a_launcher_that_is_gone_is_a_signal(train, tmp_path, monkeypatch):
    """Without it nobody starts the run again, and two may come to be."""
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'x')
    parents = itertools.chain([PARENT] * 2, itertools.repeat(1))
    monkeypatch.setattr(stopping, 'get_parent', lambda: next(parents))
    assert train('run') == STOPPED
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_3.pth')
    monkeypatch.delenv('TORCHELASTIC_RUN_ID')
    assert train('run', resume=True) == 0


class Slow:
    """Five numbers; the third takes until the signals have come."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 2:
            time.sleep(0.5)
        return index, os.getpid()


def test_a_worker_outlives_a_signal_that_all_processes_get():
    loader = DataLoader(
        Slow(), num_workers=1, worker_init_fn=partial(shield_worker, None)
    )
    batches = iter(loader)
    worker = int(next(batches)[1])
    # not from its parent
    kill = f'kill -TERM {worker}; kill -USR1 {worker}'
    subprocess.run(['bash', '-c', kill], check=True)
    assert [int(index) for index, _ in batches] == [1, 2, 3, 4]


def test_a_worker_obeys_its_parent():
    loader = DataLoader(
        Slow(), num_workers=1, worker_init_fn=partial(shield_worker, None)
    )
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(20)
    assert not worker.is_alive()


@pytest.mark.parametrize('status', [75, 1, 0])
@pytest.mark.parametrize('restarts', ['', '2'])
def test_slurm_requeues_what_was_told_to_stop(tmp_path, status, restarts):
    for name, end in (('srun', status), ('scontrol', 0)):
        script = tmp_path / name
        script.write_text(f'#!/bin/bash\necho {name} "$@" >> called\nexit {end}\n')
        script.chmod(0o755)
    environ = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}')
    environ |= dict(SLURM_JOB_ID='12', SLURM_RESTART_COUNT=restarts or '0')
    script = str(ROOT / 'tools/slurm_train.sh')
    command = ['bash', script, 'gpu', 'job', 'config.py', '--amp']
    done = subprocess.run(command, cwd=tmp_path, env=environ)
    called = (tmp_path / 'called').read_text()
    assert done.returncode == status
    assert ('scontrol requeue 12' in called) is (status == 75)
    assert ('--amp --resume' in called) is bool(restarts)
