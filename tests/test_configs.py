"""Every shipped config is a test case."""

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_configs import part_name, parts, small

from coavt_mm.apis import CoAVTInferencer, embed
from coavt_mm.cli import launch
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.engine.running import build_runner
from coavt_mm.registry import DATASETS, METRICS, MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(p.relative_to(ROOT) for p in (ROOT / 'configs/coavt').rglob('*.py'))
DEMO = str(ROOT / 'configs/coavt/pretrain_demo.py')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Folder of a few demo clips."""
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=16, test_clips=6, val_clips=6), 1)
    return root


@pytest.fixture(scope='module')
def demo_options(shapes):
    """Options that point a demo config at the clips."""
    root = shapes
    options = {'model.tokenizer': f'{root}/vocab.txt'}
    for name in ('train', 'val', 'test'):
        dataset = f'{name}_dataloader.dataset'
        options[f'{dataset}.data_root'] = str(root)
        options[f'{dataset}.pipeline.3.tokenizer'] = f'{root}/vocab.txt'
        options[f'{name}_dataloader.num_workers'] = 0
    return {**options, 'train_dataloader.batch_size': 4}


def _arguments(options):
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


@cache
def shipped(path):
    """A config, to be looked at."""
    return Config.fromfile(ROOT / path)


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_model_and_metrics_build(path):
    cfg = shipped(path)
    with torch.device('meta'):  # sizes and names, without gigabytes of weights
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) > 1e5
    for part in parts([cfg.val_evaluator, cfg.test_evaluator]):
        if part_name(part) in METRICS:
            METRICS.build(_possible_here(part))
    assert cfg.train_dataloader.dataset.type in DATASETS


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_save_best_is_a_number_that_can_move(path):
    cfg = shipped(path)
    key = cfg.default_hooks.checkpoint.get('save_best')
    if key is None or cfg.val_evaluator is None:
        return
    (evaluator,) = parts([cfg.val_evaluator])
    metric = METRICS.get(part_name(evaluator))
    assert key.startswith(f'{metric.default_prefix}/')
    if part_name(evaluator) != 'RetrievalMetric':
        return
    assert key.split('/')[2] == 'AV'
    weights = cfg.model.contrastive_head.get('streams', {})
    assert weights.get('AV', 1) > 0, 'the cosine stays untrained'
    pipeline = cfg.val_dataloader.dataset.pipeline
    (texts,) = [step for step in pipeline if part_name(step) == 'AllCaptions']
    # labels as texts: few texts serve all clips of a class
    assert evaluator.get('equal_texts', False) == bool(texts.get('templates'))


def _possible_here(evaluator):
    """Without Java; skips where pycocoevalcap is missing."""
    if part_name(evaluator) != 'CaptionMetric':
        return evaluator
    if find_spec('pycocoevalcap') is None:
        pytest.skip('pycocoevalcap (extra `caption`) is absent')
    return dict(evaluator, tokenizer='words')


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_one_training_and_one_test_step(path, shapes, tmp_path):
    cfg = small(ROOT / path, shapes, tmp_path)
    for part in parts([cfg.val_evaluator, cfg.test_evaluator]):
        _possible_here(part)
    cfg.experiment_name = '_'.join(path.with_suffix('').parts)
    runner = build_runner(cfg)
    before = {name: p.clone() for name, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter == 1
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    after = dict(runner.model.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    metrics = runner.test()
    assert metrics and all(math.isfinite(value) for value in metrics.values())


def test_batches_of_one_clip_are_refused_in_one_line(demo_options, tmp_path, capsys):
    options = {**demo_options, 'train_dataloader.batch_size': 1}
    command = [DEMO, '--work-dir', str(tmp_path), *_arguments(options)]
    with pytest.raises(SystemExit):
        launch.run_tool(lambda: launch.train(command))
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('Error: train_dataloader.batch_size=1: contrastive and')


def _weights(path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.mark.slow
def test_a_resumed_demo_run_equals_an_unbroken_one(demo_options, tmp_path):
    """All losses, with drawn negatives, captions and frames; the modalities first."""
    stages = 'train_dataloader.sampler.curriculum'

    def train(name, max_iters, *more):
        options = {
            **demo_options,
            'train_cfg.max_iters': max_iters,
            'train_cfg.val_interval': 100,
            'train_cfg.val_begin': 100,
            'default_hooks.checkpoint.interval': 3,
            # two stages of an epoch of 16 clips: the second ends after the break
            'train_dataloader.batch_size': 8,
            f'{stages}.0.epochs': 1,
            f'{stages}.1.epochs': 1,
        }
        launch.train(
            [DEMO, '--work-dir', str(tmp_path / name), *more, *_arguments(options)]
        )

    train('unbroken', 6)
    train('broken', 3)
    train('broken', 6, '--resume')
    unbroken = _weights(tmp_path / 'unbroken/iter_6.pth')
    resumed = _weights(tmp_path / 'broken/iter_6.pth')
    halfway = _weights(tmp_path / 'broken/iter_3.pth')
    assert unbroken.keys() == resumed.keys()
    for name, value in unbroken.items():
        assert torch.equal(value, resumed[name]), name
    assert not torch.equal(
        halfway['query_encoder.query_tokens'], unbroken['query_encoder.query_tokens']
    )


@pytest.mark.slow
def test_retrieval_demo_evaluates_a_checkpoint(demo_options, tmp_path):
    options = {**demo_options, 'train_cfg.max_iters': 1, 'train_cfg.val_begin': 2}
    launch.train([DEMO, '--work-dir', str(tmp_path), *_arguments(options)])
    options = {
        **demo_options,
        'test_evaluator.0.out_dir': tmp_path / 'out',
        'test_evaluator.0.features_file': tmp_path / 'features.pth',
        'test_evaluator.1.out_file': tmp_path / 'out/captions.json',
    }
    metrics = launch.test(
        [
            str(ROOT / 'configs/coavt/retrieval_demo.py'),
            str(tmp_path / 'iter_1.pth'),
            *('--work-dir', str(tmp_path)),
            *_arguments(options),
        ]
    )
    assert {
        'retrieval/text_to_clip/AV/R@1',
        'retrieval/clip_to_text/V/R@10',
        'retrieval/matching_accuracy',
        'caption/beam/all',
    } <= metrics.keys()
    written = {p.name for p in (tmp_path / 'out').iterdir()}
    assert {'retrieval.json', 'retrieval.md', 'captions.json'} < written
    assert sum(name.endswith('.png') for name in written) >= 3
    records = torch.load(tmp_path / 'features.pth')['records']
    _check_own_clips(tmp_path / 'iter_1.pth', records)


def _check_own_clips(checkpoint, records):
    """From the trained checkpoint alone: what the evaluation extracted."""
    model = CoAVTInferencer(weights=checkpoint, show_progress=False)
    texts = [text for record in records for text in record['texts']]
    paths = [record['clip_path'] for record in records]
    found = embed(paths, text=texts, model=model, batch_size=4)
    assert len(records) == len(found['clips']) == 6
    for record, clip in zip(records, found['clips'], strict=True):
        (window,) = clip['windows']
        assert window['embeddings'].keys() == record['clip_feats'].keys()
        for stream, feats in record['clip_feats'].items():
            own = torch.from_numpy(window['embeddings'][stream])
            torch.testing.assert_close(own, feats, atol=1e-5, rtol=0)
    captions = torch.cat([record['caption_feats'] for record in records])
    own = torch.stack([torch.from_numpy(t['embedding']) for t in found['texts']])
    torch.testing.assert_close(own, captions, atol=1e-5, rtol=0)


KEPT = {'FitCheckpointHook', 'IterationSeedHook', 'ShareModelHook'}


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_a_recipe_that_adds_hooks_keeps_those_of_its_base(path, tmp_path):
    """As the EMA example of docs/training.md does."""
    child = tmp_path / 'child.py'
    child.write_text(
        f"_base_ = '{ROOT / path}'\n"
        "custom_hooks = [dict(type='EMAHook', momentum=2e-4)]\n"
    )
    whole, cfg = shipped(path), Config.fromfile(child)
    assert {hook.type for hook in cfg.default_hooks.values()} >= KEPT
    assert cfg.default_hooks == whole.default_hooks
    assert not whole.get('custom_hooks')


def test_weights_that_do_not_fit_are_refused_beside_hooks_of_ones_own(
    demo_options, tmp_path, capsys
):
    child = tmp_path / 'child.py'
    child.write_text(
        f"_base_ = '{DEMO}'\ncustom_hooks = [dict(type='EMAHook', momentum=2e-4)]\n"
    )
    torch.save(dict(state_dict=dict(x=torch.ones(2))), tmp_path / 'other.pth')
    options = {**demo_options, 'load_from': tmp_path / 'other.pth'}
    command = [str(child), '--work-dir', str(tmp_path / 'run'), *_arguments(options)]
    with pytest.raises(SystemExit):
        launch.run_tool(lambda: launch.train(command))
    assert capsys.readouterr().err.splitlines()[-1].startswith('Error: ')
