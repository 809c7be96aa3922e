"""Options of training and testing that OpenMMLab's users know."""

import json
import os
import pickle
import sys
import uuid
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import root

import coavt_mm.registry as nodes
from coavt_mm.cli import launch, options
from coavt_mm.errors import ConfigError


@pytest.mark.parametrize('given', ['OptimWrapper', 'mmengine.OptimWrapper', None])
def test_amp_is_bf16(given):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3)
    cfg = Config(
        dict(optim_wrapper=dict(wrapper, **(dict(type=given) if given else {})))
    )
    options.use_amp(cfg)
    assert cfg.optim_wrapper.type == 'coavt_mm.BF16OptimWrapper'
    assert cfg.optim_wrapper.accumulative_counts == 3


@pytest.mark.parametrize('given', ['BF16OptimWrapper', 'mmengine.AmpOptimWrapper'])
def test_amp_leaves_mixed_precision_as_it_is(given):
    cfg = Config(dict(optim_wrapper=dict(type=given, loss_scale='dynamic')))
    options.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type=given, loss_scale='dynamic')


def test_amp_does_not_replace_what_it_does_not_know():
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
    with pytest.raises(ConfigError, match='optim_wrapper.type=ApexOptimWrapper'):
        options.use_amp(cfg)


def test_train_takes_amp_without_validation(toy_config, tmp_path):
    given = [
        '--amp',
        '--no-validate',
        '--cfg-options',
        f'experiment_name={uuid.uuid4().hex}',
        'train_cfg.max_iters=4',
        'default_hooks.checkpoint.save_best=count',
        'default_hooks.checkpoint.rule=greater',
    ]
    launch.train([toy_config, '--work-dir', str(tmp_path), *given])
    assert (tmp_path / 'iter_4.pth').is_file()
    (log,) = tmp_path.rglob('scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row['step'] for row in rows] == [1, 2, 3, 4]  # none of a validation
    (kept,) = tmp_path.glob('*.py')
    assert 'BF16OptimWrapper' in kept.read_text()


def test_auto_scale_lr(toy_config, tmp_path):
    common = [toy_config, '--work-dir', str(tmp_path), '--auto-scale-lr']
    with pytest.raises(ConfigError, match=r'auto_scale_lr\.base_batch_size=256'):
        launch.train(common)
    given = ['auto_scale_lr.base_batch_size=8', 'train_cfg.max_iters=1']
    launch.train(
        [*common, '--cfg-options', f'experiment_name={uuid.uuid4().hex}', *given]
    )
    (log,) = tmp_path.rglob('scalars.json')
    row = json.loads(log.read_text().splitlines()[0])
    assert row['lr'] == pytest.approx(0.1 * 2 / 8)  # batches of 2


def test_deterministic(toy_config, tmp_path, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    given = [
        '--deterministic',
        '--seed',
        '5',
        '--cfg-options',
        f'experiment_name={uuid.uuid4().hex}',
        'train_cfg.max_iters=1',
    ]
    benchmark = torch.backends.cudnn.benchmark
    try:
        launch.train([toy_config, '--work-dir', str(tmp_path), *given])
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = benchmark
        os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)
    saved = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    assert saved['meta']['seed'] == 5


def test_dump_writes_every_clip_beside_the_metrics(toy_config, tmp_path):
    common = [toy_config, '--work-dir', str(tmp_path)]
    launch.train(
        [
            *common,
            '--cfg-options',
            f'experiment_name={uuid.uuid4().hex}',
            'train_cfg.max_iters=1',
        ]
    )
    file = tmp_path / 'predictions.pkl'
    weights = str(tmp_path / 'iter_1.pth')
    named = ['--cfg-options', f'experiment_name={uuid.uuid4().hex}']
    metrics = launch.test(
        [toy_config, weights, *common[1:], '--dump', str(file), *named]
    )
    assert metrics['count'] == 7
    assert len(pickle.loads(file.read_bytes())) == 7
    with pytest.raises(ConfigError, match='must end with .pkl'):
        launch.test([toy_config, weights, *common[1:], '--dump', 'predictions.json'])


def test_every_registry_of_mmengine_has_a_child_here():
    for name, parent in vars(root).items():
        if isinstance(parent, root.Registry):
            node = getattr(nodes, name)
            assert node.parent is parent and parent.children['coavt_mm'] is node, name


@pytest.mark.parametrize(
    ('name', 'type_name'),
    [
        ('VISBACKENDS', 'LocalVisBackend'),
        ('EVALUATOR', 'Evaluator'),
        ('LOG_PROCESSORS', 'LogProcessor'),
        ('OPTIMIZERS', 'AdamW'),
        ('MODEL_WRAPPERS', 'MMDistributedDataParallel'),
    ],
)
def test_a_node_finds_what_mmengine_has(name, type_name):
    assert getattr(nodes, name).get(type_name).__name__ == type_name


@pytest.mark.parametrize('name', ['mlflow', 'wandb'])
def test_a_tracker_is_one_line_of_config(name, toy_config, tmp_path, monkeypatch):
    """Its package is a stand-in that notes the calls."""
    tracker = MagicMock()
    monkeypatch.setitem(sys.modules, name, tracker)
    config = tmp_path / 'tracked.py'
    backend = dict(mlflow='MLflowVisBackend', wandb='WandbVisBackend')[name]
    config.write_text(
        f'_base_ = {toy_config!r}\n'
        f"visualizer = dict(type='Visualizer', vis_backends=[dict(type='{backend}')])\n"
        f"experiment_name = '{uuid.uuid4().hex}'\ntrain_cfg = dict(max_iters=1)\n"
    )
    launch.train([str(config), '--work-dir', str(tmp_path / 'run')])
    if name == 'mlflow':
        (address,) = tracker.set_tracking_uri.call_args.args
        assert address.startswith(f'file://{tmp_path}')  # a local folder
        logged = [call.args[0] for call in tracker.log_metric.call_args_list]
        logged += [
            k for call in tracker.log_metrics.call_args_list for k in call.args[0]
        ]
    else:
        logged = [k for call in tracker.init().log.call_args_list for k in call.args[0]]
        logged += [k for call in tracker.log.call_args_list for k in call.args[0]]
    assert 'loss' in logged


def test_slurm_scripts_hand_everything_on(tmp_path):
    """A stand-in for srun writes down how it was called."""
    import subprocess

    tools = Path(__file__).parents[2] / 'tools'
    srun = tmp_path / 'srun'
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='2')
    given = ['part', 'job', 'a b.py', 'x y.pth', '--dump', 'p q.pkl']
    done = subprocess.run(
        ['bash', tools / 'slurm_test.sh', *given],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    assert '--partition=part' in words and '--ntasks=2' in words
    assert words[-6:] == [
        'a b.py',
        'x y.pth',
        '--launcher',
        'slurm',
        '--dump',
        'p q.pkl',
    ]


@pytest.mark.parametrize(
    ('settings', 'tables', 'captions'),
    [
        ((), 'mine', 'mine/captions.json'),
        (['model.x'], 'mine', 'mine/captions.json'),
        (['out_dir'], 'own', 'own/captions.json'),
        (['test_evaluator.RetrievalMetric.out_dir'], 'own', 'own/captions.json'),
        (['test_evaluator.AttributeAccuracy.out_file'], 'mine', 'own/captions.json'),
    ],
)
def test_the_work_dir_is_where_results_go(settings, tables, captions):
    retrieval = dict(type='RetrievalMetric', out_dir='own')
    written = dict(type='AttributeAccuracy', out_file='own/captions.json')
    nothing = dict(type='MomentMetric')
    cfg = Config(dict(test_evaluator=[retrieval, written, nothing]))
    options.write_results_to(cfg, 'mine', settings)
    first, second, third = cfg.test_evaluator
    assert (first.out_dir, second.out_file) == (tables, captions)
    assert third == nothing
    cfg = Config(dict(test_evaluator=retrieval))
    options.write_results_to(cfg, 'mine', settings)
    assert cfg.test_evaluator.out_dir == tables


def test_results_of_two_metrics_stay_apart():
    one, other = (dict(type='RetrievalMetric', out_dir=f'own/{x}') for x in 'AV')
    cfg = Config(dict(test_evaluator=[one, other]))
    options.write_results_to(cfg, 'mine', ())
    assert [metric.out_dir for metric in cfg.test_evaluator] == ['mine/A', 'mine/V']


def test_a_test_writes_into_its_work_dir(toy_config, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr('coavt_mm.cli.running.run_test', seen.append)
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'retrieval.py'
    config.write_text(
        f'_base_ = {toy_config!r}\n'
        "test_evaluator = [dict(type='RetrievalMetric', out_dir='there')]\n"
    )
    torch.save(dict(state_dict={}), 'x.pth')
    own = ['--cfg-options', 'test_evaluator.RetrievalMetric.out_dir=own']
    for words in ([], ['--work-dir', 'mine'], ['--work-dir', 'mine', *own]):
        launch.test([str(config), 'x.pth', *words])
    assert [cfg.test_evaluator[0].out_dir for cfg in seen] == ['there', 'mine', 'own']
