"""The scripts for several processes, with what they start replaced."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
TRAIN = [
    ('dist_train.sh', ['config.py', '4', '--amp']),
    ('dist_test.sh', ['config.py', 'a.pth', '4', '--amp']),
]
SLURM = [
    ('slurm_train.sh', ['gpu', 'job', 'config.py', '--amp']),
    ('slurm_test.sh', ['gpu', 'job', 'config.py', 'a.pth', '--amp']),
]


@pytest.fixture
def started(tmp_path):
    """Runs a script; gives the words of the command that it would have started."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)

    def start(script, given, **environ):
        environ = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', **environ)
        command = ['bash', str(TOOLS / script), *given]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split('\n')[:-1]

    return start


@pytest.mark.parametrize(('script', 'given'), TRAIN)
def test_two_jobs_on_a_machine_do_not_share_a_port(started, script, given):
    words = started(script, given)
    assert '--standalone' in words and '--nproc_per_node=4' in words
    assert not [word for word in words if 'port' in word]
    assert words[-3:] == ['--launcher', 'pytorch', '--amp']


@pytest.mark.parametrize(('script', 'given'), TRAIN)
def test_machines_meet_where_they_are_told_to(started, script, given):
    words = started(script, given, NNODES='2', NODE_RANK='1', MASTER_ADDR='host0')
    assert '--standalone' not in words
    for word in ('nnodes=2', 'node_rank=1', 'master_addr=host0', 'master_port=29500'):
        assert f'--{word}' in words
    words = started(script, given, PORT='29501')
    assert {'--nnodes=1', '--master_port=29501'} <= {*words}


@pytest.mark.parametrize(('script', 'given'), SLURM)
@pytest.mark.parametrize(('gpus', 'per_node'), [('4', 4), ('8', 8), ('16', 8)])
def test_slurm_is_asked_for_the_gpus_that_are_used(
    started, script, given, gpus, per_node
):
    """And for the cores that a GPU's loader needs."""
    words = started(script, given, GPUS=gpus)
    for word in (f'gres=gpu:{per_node}', f'ntasks-per-node={per_node}'):
        assert f'--{word}' in words
    assert f'--ntasks={gpus}' in words and '--cpus-per-task=14' in words
    assert words[-3:] == ['--launcher', 'slurm', '--amp']
    words = started(script, given, CPUS_PER_TASK='6', SRUN_ARGS='--qos=a --time=1')
    assert {'--cpus-per-task=6', '--qos=a', '--time=1'} <= {*words}


@pytest.mark.parametrize('script', [script for script, _ in TRAIN + SLURM])
def test_scripts_say_how_they_are_called(script):
    done = subprocess.run(['bash', TOOLS / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('Usage: bash')
