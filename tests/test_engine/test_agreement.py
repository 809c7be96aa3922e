"""Processes begin alike, or say on every one why not."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ranks
import torch

from coavt_mm.cli.launch import _set_environment
from coavt_mm.config import load_config
from coavt_mm.engine import resuming, running
from coavt_mm.engine.ranks import (
    agree_on_start,
    check_shared_folder,
    compare_ranks,
)
from coavt_mm.errors import CheckpointError

CONFIG = Path(__file__).parents[2] / 'configs/coavt/pretrain_vggsound.py'


@pytest.mark.parametrize('second', ['shared', 'unreadable'])
def test_all_go_on_from_what_the_first_found(tmp_path, second):
    (tmp_path / 'iter_3.pth').touch()
    ranks.run_two_ranks(ranks.start_worker, (str(tmp_path), second), f'{tmp_path}/out')
    said = [torch.load(f'{tmp_path}/out.{rank}') for rank in range(2)]
    if second == 'shared':
        assert said == [(f'{tmp_path}/iter_3.pth', True)] * 2
    else:
        assert said[0] == said[1]
        assert 'processes 1 cannot read it' in said[0] and '--work-dir' in said[0]


@pytest.mark.parametrize('case', ['same', 'weights', 'iteration'])
def test_different_weights_or_iterations_are_refused_everywhere(tmp_path, case):
    ranks.run_two_ranks(ranks.begin_worker, case, f'{tmp_path}/out')
    said = [torch.load(f'{tmp_path}/out.{rank}') for rank in range(2)]
    assert said[0] == said[1]
    assert (said[0] == 'fine') is (case == 'same')
    if case == 'iteration':
        assert 'process 1: iteration 1' in said[0]


@pytest.mark.parametrize('shared', [True, False])
def test_machines_that_do_not_share_a_folder(tmp_path, shared):
    folders = [tmp_path / 'a', tmp_path / ('a' if shared else 'b')]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    ranks.run_two_ranks(ranks.folder_worker, folders, f'{tmp_path}/out')
    said = [torch.load(f'{tmp_path}/out.{rank}') for rank in range(2)]
    assert not any(path.is_file() for path in folders[0].rglob('*'))
    if shared:
        assert said == ['fine'] * 2
    else:
        assert all('processes 1 do not see' in text for text in said)


def test_one_process_has_nobody_to_agree_with():
    agree_on_start(SimpleNamespace(_load_from='nowhere.pth', _resume=True))
    compare_ranks(SimpleNamespace())
    check_shared_folder()


@pytest.mark.parametrize(
    'launcher, given, expected',
    [
        ('none', {}, dict(LOCAL_RANK='0')),
        ('pytorch', dict(LOCAL_RANK='3'), dict(LOCAL_RANK='3')),
        (
            'mpi',
            dict(OMPI_COMM_WORLD_LOCAL_RANK='2'),
            dict(OMPI_COMM_WORLD_LOCAL_RANK='2', LOCAL_RANK='2'),
        ),
        (
            'slurm',
            dict(SLURM_JOB_ID='45678'),
            dict(SLURM_JOB_ID='45678', LOCAL_RANK='0', MASTER_PORT='25678'),
        ),
        (
            'slurm',
            dict(SLURM_JOB_ID='1', MASTER_PORT='7'),
            dict(SLURM_JOB_ID='1', LOCAL_RANK='0', MASTER_PORT='7'),
        ),
        (  # a GPU for each task, bound to it
            'slurm',
            dict(SLURM_LOCALID='3', CUDA_VISIBLE_DEVICES='3'),
            dict(SLURM_LOCALID='0', CUDA_VISIBLE_DEVICES='3', LOCAL_RANK='0'),
        ),
        (
            'slurm',
            dict(SLURM_LOCALID='3', CUDA_VISIBLE_DEVICES='0,1,2,3'),
            dict(SLURM_LOCALID='3', CUDA_VISIBLE_DEVICES='0,1,2,3', LOCAL_RANK='0'),
        ),
    ],
)
def test_what_launchers_leave_out_is_set(launcher, given, expected):
    _set_environment(Namespace(launcher=launcher, local_rank=0), given)
    assert given == expected


@pytest.mark.parametrize('name', ['agree_on_start', 'check_shared_folder'])
def test_every_run_asks_the_others(toy_cfg, monkeypatch, name):
    def called(*given):
        raise CheckpointError(name)

    monkeypatch.setattr(running, name, called)
    with pytest.raises(CheckpointError, match=name):
        running.build_runner(toy_cfg())


def test_every_training_compares_the_processes(monkeypatch):
    asked = []
    monkeypatch.setattr(resuming, 'compare_ranks', asked.append)
    monkeypatch.setattr(resuming, 'compare_batches', asked.append)
    resuming.ResumeHook().before_train('runner')
    assert asked == ['runner', 'runner']


def test_evaluation_may_be_longer_than_ten_minutes():
    cfg = load_config(str(CONFIG))
    assert cfg.env_cfg.dist_cfg.timeout >= 3600
