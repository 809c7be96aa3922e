"""Validation and test run in the precision of the training."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from tiny_coavt import samples, tiny_batch, tiny_coavt
from torch import nn

from coavt_mm.engine import evaluating, running
from coavt_mm.engine.evaluating import TestLoop as OurTestLoop
from coavt_mm.engine.evaluating import ValLoop
from coavt_mm.errors import ConfigError
from coavt_mm.evaluation import RetrievalMetric
from coavt_mm.evaluation.metric import heading


def loop_of(kind=ValLoop, wrapper=None, **options):
    """A loop over three clips, and what its linear layers gave."""
    seen = set()
    model = tiny_coavt().eval()
    model.test_cfg['keep_tokens'] = True
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda layer, x, out: seen.add(out.dtype))
    batch = dict(inputs=tiny_batch(3), data_samples=samples(3))
    for i, sample in enumerate(batch['data_samples']):
        sample.set_metainfo(dict(sample_id=str(i), error=None))
        sample.set_data(dict(texts=[str(i)], text_streams=['AV']))
    runner = SimpleNamespace(
        model=model,
        cfg=Config(dict(optim_wrapper=dict(type=wrapper or 'OptimWrapper'))),
        visualizer=SimpleNamespace(),
        call_hook=lambda name, **_: None,
    )
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    metric = RetrievalMetric(modes=('cosine', 'matching'))
    metric.model = model
    loop = kind(runner, loader, Evaluator([metric]), **options)
    loop.run_iter(0, batch)
    return metric, seen


@pytest.mark.parametrize('kind', [ValLoop, OurTestLoop])
def test_layers_see_the_precision_and_features_stay_close(kind):
    exact, seen = loop_of(kind)
    assert seen == {torch.float32}
    half, seen = loop_of(kind, precision='bf16')
    assert seen == {torch.bfloat16}
    for a, b in zip(exact.results, half.results, strict=True):
        for stream, feats in a['clip_feats'].items():
            close = torch.cosine_similarity(feats, b['clip_feats'][stream], dim=-1)
            assert b['clip_feats'][stream].dtype == torch.float32
            assert close.min() > 0.999
        assert (a['tokens'].dtype, b['tokens'].dtype) == (torch.float32, torch.bfloat16)


def test_the_report_says_it():
    for precision, said in (('bf16', True), ('float32', False)):
        metric, _ = loop_of(precision=precision)
        metric.evaluate(3)
        assert metric.last_results['precision'] == precision
        assert ('precision bf16' in heading(metric.last_results)) == said


@pytest.mark.parametrize(
    ('wrapper', 'precision'),
    [
        (dict(type='BF16OptimWrapper'), 'bf16'),
        (dict(type='coavt_mm.BF16OptimWrapper'), 'bf16'),
        (dict(type='AmpOptimWrapper'), 'fp16'),
        (dict(type='AmpOptimWrapper', dtype='bfloat16'), 'bf16'),
        (dict(type=nn.Linear), 'float32'),
        (None, 'float32'),
    ],
)
def test_it_is_that_of_the_training_on_a_gpu_alone(wrapper, precision, monkeypatch):
    runner = SimpleNamespace(model=nn.Linear(1, 1), cfg=dict(optim_wrapper=wrapper))
    assert evaluating.trained_precision(runner) == 'float32'
    monkeypatch.setattr(evaluating, '_device', lambda runner: 'cuda')
    assert evaluating.trained_precision(runner) == precision


def test_names_are_checked():
    with pytest.raises(ConfigError, match="val_cfg.precision='bf32'; expected one of"):
        loop_of(precision='bf32')
    with pytest.raises(ConfigError, match='leave one out'):
        loop_of(precision='bf16', fp16=True)


def test_a_config_that_names_no_loop_has_ours():
    cfg = Config(dict(val_cfg={}, test_cfg=dict(type='TestLoop', precision='fp16')))
    running._take_own(cfg)
    assert cfg.val_cfg.type == 'coavt_mm.ValLoop'
    assert cfg.test_cfg.type == 'coavt_mm.TestLoop'
    cfg = Config(dict(val_cfg=dict(type='MyLoop'), test_cfg=None))
    running._take_own(cfg)
    assert cfg.val_cfg.type == 'MyLoop'
