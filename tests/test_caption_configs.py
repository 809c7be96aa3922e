"""The recipe of captioning, and what its small-scale form must share with it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from coavt_mm.models.generation import check_decoding
from coavt_mm.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs/coavt'


@pytest.mark.parametrize('name', ['caption_audiocaps', 'caption_demo'])
def test_language_modelling_alone_is_trained(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.contrastive_head is None and model.matching_head is None
    assert set(model.lm_head.streams) == {'AV'}
    for decoder, options in cfg.model.test_cfg.caption.items():
        check_decoding(decoder, options)
    for steps in (cfg.train_pipeline, cfg.test_pipeline):
        (captions,) = [s for s in steps if s.type in ('PickCaption', 'AllCaptions')]
        assert set(captions) == {'type'}  # captions of sound and picture, no others


def test_audiocaps_recipe():
    """VALOR's: lr 2e-5, batch 64, 10 epochs, weight decay 0.01, a tenth to warm up."""
    cfg = Config.fromfile(CONFIGS / 'caption_audiocaps.py')
    assert (
        8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 64
    )
    assert cfg.train_cfg.max_iters == 10 * 45_000 // 64
    warm_up, decay = cfg.param_scheduler
    assert warm_up.end == decay.begin == cfg.train_cfg.max_iters // 10
    assert decay.end == cfg.train_cfg.max_iters
    model = MODELS.build(dict(cfg.model.lm_head))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {2e-5}
    decays = {group['weight_decay'] for group in wrapper.optimizer.param_groups}
    assert decays == {0.01, 0.0}  # none on norms and biases
    assert wrapper.clip_grad_kwargs == dict(max_norm=5.0)
