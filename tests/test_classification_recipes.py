"""The classification recipes against the published ones, and each in one step."""

import json
from pathlib import Path

import pytest
import torch
from media_files import write_rows
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from coavt_mm.datasets.sounding_shapes import Settings, make_sounding_shapes
from coavt_mm.engine import launch
from coavt_mm.registry import MODELS

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
    (average,) = (h for h in cfg.custom_hooks if h.type == 'EpochAverageHook')
    assert (average.begin, average.end) == recipe['averaged']
    kinds = [hook.type for hook in cfg.custom_hooks]
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


# ----------------------------------------------------------------- one step each
@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Four demo clips to train on and two to test on, with seven labels each."""
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=4, test_clips=2, val_clips=2), 1)
    return root


def options(shapes, tmp_path, **more):
    """A recipe of any size on the demo clips."""
    found = {
        'load_from': None,
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 2,
        'custom_hooks.2.begin': 1,
        'custom_hooks.2.end': 1,
        'test_evaluator.out_dir': tmp_path / 'out',
        **more,
    }
    for part in ('train', 'val', 'test'):
        found[f'{part}_dataloader.dataset.data_root'] = shapes
        found[f'{part}_dataloader.num_workers'] = 0
        if part != 'test' or 'persistent_workers' in more:
            found[f'{part}_dataloader.persistent_workers'] = False
    found.pop('persistent_workers', None)
    return ['--cfg-options', *(f'{key}={value}' for key, value in found.items())]


def full_size(name, shapes, tmp_path, **more):
    """Options that shrink a recipe for AudioSet or VGGSound to the demo clips."""
    rows = map(json.loads, (shapes / 'train.jsonl').read_text().splitlines())
    labelled = [
        dict(id=row['id'], clip=row['clip'], labels=[f'c{k}'])
        for k, row in enumerate(rows)
    ]
    path = write_rows(tmp_path / 'labelled.jsonl', labelled)
    shrink = {
        'persistent_workers': False,
        'model.backbone.embed_dims': 24,
        'model.backbone.num_heads': 2,
        'model.backbone.depths': '[1,1,1]',
        'model.head.embed_dims': 24,
        'model.head.num_classes': 7,
    }
    if 'query_encoder' in load(name).model:
        shrink |= {
            'model.query_encoder.context_dims': 24,
            'model.query_encoder.embed_dims': 20,
            'model.query_encoder.num_heads': 2,
            'model.query_encoder.depth': 2,
            'model.query_encoder.hidden_dims': 24,
            'model.query_encoder.vocab_size': 9,
            'model.head.embed_dims': 20,
        }
    for part in ('train', 'val', 'test'):
        dataset = f'{part}_dataloader.dataset'
        shrink[f'{dataset}.ann_file'] = path
        shrink[f'{dataset}.classes'] = '[c0,c1,c2,c3,c4,c5,c6]'
    return options(shapes, tmp_path, **{**shrink, **more})


FULL = [*RECIPES, 'cls_vggsound_linear', 'cls_vggsound_queries']


@pytest.mark.parametrize('name', FULL)
def test_a_recipe_trains_and_tests(name, shapes, tmp_path):
    more = {'model.stream': 'A'} if name == 'cls_audioset2m' else {}
    arguments = full_size(name, shapes, tmp_path, **more)
    config = str(CONFIGS / f'{name}.py')
    launch.train([config, '--work-dir', str(tmp_path), *arguments])
    checkpoint = str(tmp_path / 'epoch_1.pth')
    metrics = launch.test([config, checkpoint, '--work-dir', str(tmp_path), *arguments])
    single = load(name).test_evaluator.task == 'single_label'
    main = 'top1' if single else 'mAP'
    assert 0 <= metrics[f'classification/{main}'] <= 1
    written = {p.name for p in (tmp_path / 'out').iterdir()}
    assert {'classification.json', 'classification.md', 'per_class.png'} <= written


@pytest.mark.parametrize('name', ['cls_demo', 'cls_demo_single'])
def test_a_demo_trains_and_tests_with_one_missing(name, shapes, tmp_path):
    config = str(CONFIGS / f'{name}.py')
    run = ['--work-dir', str(tmp_path)]
    launch.train([config, *run, *options(shapes, tmp_path)])
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    assert {'ema_state_dict', 'state_dict'} <= state.keys()
    for stream in ('AV', 'A'):
        more = {'model.test_cfg.stream': stream}
        arguments = options(shapes, tmp_path, **more)
        launch.test([config, str(tmp_path / 'epoch_1.pth'), *run, *arguments])
        report = (tmp_path / 'out/classification.json').read_text()
        assert f'"{stream}": 2' in report and '"ceilings": {' in report


def test_zeroshot_demo_names_the_factors(shapes, tmp_path):
    config = str(CONFIGS / 'zeroshot_demo.py')
    cfg = load('zeroshot_demo')
    cfg.model.tokenizer = f'{shapes}/vocab.txt'
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'x.pth')
    settings = {
        'model.tokenizer': f'{shapes}/vocab.txt',
        'test_dataloader.dataset.data_root': shapes,
        'test_dataloader.num_workers': 0,
        'test_evaluator.out_dir': tmp_path,
    }
    arguments = ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]
    metrics = launch.test(
        [config, str(tmp_path / 'x.pth'), '--work-dir', str(tmp_path), *arguments]
    )
    assert {f'zeroshot/{s}/mean' for s in ('AV', 'A', 'V')} <= metrics.keys()
    assert 0 <= metrics['zeroshot/A/timbre/top1'] <= 1
    assert (tmp_path / 'zeroshot.json').is_file()
