"""The classification recipes against the published ones, and the demo's run."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from coavt_mm.cli import launch
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.registry import MODELS

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[1] / 'configs/coavt'

# CAV-MAE's released scripts
RECIPES = {
    'cls_audioset2m': dict(
        lr=1e-5, head=50, epochs=10, batch=48, halves_from=2, balanced=True,
        averaged=(1, 10), loss='bce', classes=527, task='multi_label',
    ),
    'cls_audioset20k': dict(
        lr=5e-5, head=100, epochs=15, batch=36, halves_from=5, balanced=False,
        averaged=(3, 15), loss='bce', classes=527, task='multi_label',
    ),
    'cls_vggsound': dict(
        lr=1e-4, head=10, epochs=10, batch=48, halves_from=2, balanced=True,
        averaged=(3, 10), loss='ce', classes=309, task='single_label',
    ),
}  # fmt: skip


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def tiny_backbone(cfg):
    """The model of a recipe with a small encoder; the head stays."""
    cfg.model.backbone.update(embed_dims=16, num_heads=2, depths=(1, 1, 1))
    cfg.model.head.embed_dims = 16
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', RECIPES)
def test_optimiser_and_rates(name):
    cfg, recipe = load(name), RECIPES[name]
    cfg.optim_wrapper.type = 'OptimWrapper'
    model = tiny_backbone(cfg)
    with DefaultScope.overwrite_default_scope('coavt_mm'):
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert isinstance(optimizer, torch.optim.Adam)
    heads = {id(p) for p in model.head.parameters()}
    assert len(heads) == 4
    for group in optimizer.param_groups:
        factor = recipe['head'] if id(group['params'][0]) in heads else 1
        assert group['lr'] == pytest.approx(recipe['lr'] * factor)
        assert group['betas'] == (0.95, 0.999) and group['weight_decay'] == 5e-7
    # the rate in each epoch, from 1
    scheduler = cfg.param_scheduler
    assert scheduler.type == 'MultiStepLR' and scheduler.by_epoch
    for epoch in range(1, recipe['epochs'] + 1):
        passed = sum(milestone < epoch for milestone in scheduler.milestones)
        halvings = max(0, epoch - recipe['halves_from'])
        assert scheduler.gamma**passed == 0.5**halvings


@pytest.mark.parametrize('name', RECIPES)
def test_data_epochs_and_averaging(name):
    cfg, recipe = load(name), RECIPES[name]
    assert cfg.train_cfg.type == 'EpochBasedTrainLoop'
    assert cfg.train_cfg.max_epochs == recipe['epochs']
    assert cfg.train_dataloader.batch_size == recipe['batch']
    assert cfg.auto_scale_lr.base_batch_size == recipe['batch']
    sampler = cfg.train_dataloader.sampler
    assert (sampler.type, sampler.balanced) == ('EpochSampler', recipe['balanced'])
    average = cfg.default_hooks.average
    assert (average.begin, average.end) == recipe['averaged']
    kinds = [hook.type for hook in cfg.default_hooks.values()]
    assert kinds.index('FitCheckpointHook') < kinds.index('EpochAverageHook')
    head = cfg.model.head
    assert (head.loss, head.num_classes) == (recipe['loss'], recipe['classes'])
    assert head.label_smoothing == 0.1
    assert cfg.test_evaluator.task == cfg.val_evaluator.task == recipe['task']


@pytest.mark.parametrize('name', RECIPES)
def test_front_end_and_augmentation(name):
    cfg = load(name)
    assert cfg.model.data_preprocessor.augment == dict(
        mixup=0.5, mixup_alpha=10, freq_mask=48, time_mask=192, noise=0.1,
        time_roll=1024,
    )  # fmt: skip
    front = cfg.model.data_preprocessor
    assert (front.spec_mean, front.spec_std) == (-5.081, 4.4849)
    for part, pick in (('train', 'random'), ('val', 'middle'), ('test', 'all')):
        pipeline = cfg[f'{part}_dataloader'].dataset.pipeline
        kinds = ['LoadFrames', 'IfVisual', 'LoadAudio', 'PackAVTInputs']
        assert [step.type for step in pipeline] == kinds
        assert (pipeline[0].num_frames, pipeline[0].pick) == (10, pick)


def test_linear_probe_and_pooling_over_queries():
    assert load('cls_vggsound_linear').model.frozen is True
    with torch.device('meta'):
        model = MODELS.build(load('cls_vggsound_queries').model)
        model.backbone.load_state_dict(
            MODELS.build(load('pretrain_vggsound').model).av_encoder.state_dict()
        )
        queries = MODELS.build(load('pretrain_vggsound').model).query_encoder
    model.query_encoder.load_state_dict(queries.state_dict())


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Four demo clips to train on and two to test on, with seven labels each."""
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=4, test_clips=2, val_clips=2), 1)
    return root


def options(shapes, tmp_path, stream):
    """One epoch of a demo recipe in two steps, tested on one of the streams."""
    found = {
        'load_from': None,
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 2,
        'train_dataloader.persistent_workers': False,
        'val_dataloader.persistent_workers': False,
        'default_hooks.average.begin': 1,
        'default_hooks.average.end': 1,
        'test_evaluator.out_dir': tmp_path / 'out',
        'model.test_cfg.stream': stream,
    }
    for part in ('train', 'val', 'test'):
        found[f'{part}_dataloader.dataset.data_root'] = shapes
        found[f'{part}_dataloader.num_workers'] = 0
    return ['--cfg-options', *(f'{key}={value}' for key, value in found.items())]


def test_the_demo_trains_and_tests_with_one_missing(shapes, tmp_path):
    config, work_dir = str(CONFIGS / 'cls_demo.py'), ['--work-dir', str(tmp_path)]
    launch.train([config, *work_dir, *options(shapes, tmp_path, 'AV')])
    checkpoint = tmp_path / 'epoch_1.pth'
    state = torch.load(checkpoint, weights_only=False)
    assert {'ema_state_dict', 'state_dict'} <= state.keys()
    for stream in ('AV', 'A'):
        arguments = options(shapes, tmp_path, stream)
        launch.test([config, str(checkpoint), *work_dir, *arguments])
        report = json.loads((tmp_path / 'out/classification.json').read_text())
        assert report['streams'] == {stream: 2}
        assert report['ceilings']['AV']['mAP'] == 1 > report['ceilings']['A']['mAP']
