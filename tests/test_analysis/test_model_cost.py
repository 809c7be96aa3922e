"""Sizes and costs, by hand and of the model at the paper's size."""

from pathlib import Path

import pytest
import tiny_coavt
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from coavt_mm.analysis.model_cost import (
    count_macs,
    macs_by_step,
    parameters_by_part,
    training_step,
)
from coavt_mm.models import JointAVEncoder
from coavt_mm.registry import MODELS

BASE = Path(__file__).parents[2] / 'configs/_base_/models/coavt_base.py'

# D = 768; a block: 4 D^2 + 4 D for attention, 8 D^2 + 5 D for the MLP, 2 D a norm
D = 768
BLOCK = 12 * D * D + 9 * D
NORM = 2 * D
PAPER_SIZE = {
    'av_encoder.audio_embed': (16 * 16 * 1 + 1) * D + D,
    'av_encoder.visual_embed': (16 * 16 * 3 + 1) * D + D,
    'av_encoder.audio_blocks': 11 * (BLOCK + 2 * NORM),
    'av_encoder.visual_blocks': 11 * (BLOCK + 2 * NORM),
    'av_encoder.joint_blocks': 1 * (BLOCK + 3 * 2 * NORM),
    'av_encoder.norm': 3 * NORM,
    # words, positions, token types, 12 layers of one block with two norms
    'text_encoder': (30523 + 512 + 2) * D + NORM + 12 * (BLOCK + 2 * NORM),
    # queries, words, positions; a second feed-forward each; 6 cross-attentions
    'query_encoder': (32 + 30523 + 512) * D
    + NORM
    + 12 * (BLOCK + 2 * NORM)
    + 12 * (8 * D * D + 5 * D + NORM)
    + 6 * (4 * D * D + 4 * D + NORM),
    'contrastive_head': 2 * (D + 1) * 256 + 1,
    'matching_head': 2 * (D + 1),
    'lm_head': (D + 1) * D + NORM + 30523,
}


def base_model():
    init_default_scope('coavt_mm')
    return MODELS.build(Config.fromfile(BASE).model)


def test_parameters_at_the_paper_size():
    with torch.device('meta'):
        parts = parameters_by_part(base_model())
    assert parts == PAPER_SIZE
    assert sum(parts.values()) == 453_518_142


@pytest.mark.slow
def test_a_training_step_at_the_paper_size_fits_in_16_gib():
    got = training_step(base_model(), batch=2)
    assert got['peak_gib'] < 16
    losses = [name for name in got if name.startswith('loss_')]
    assert len(losses) == 5
    assert all(torch.tensor(got[name]).isfinite() for name in losses)


def test_multiply_adds_by_hand():
    width, rows, cols, hidden = 16, 2, 3, 64
    num = rows * cols
    encoder = JointAVEncoder(16, 2, (1, 1, 1), spec_size=(48, 32), img_size=32)
    block = num * (4 * width**2 + 2 * width * hidden) + 2 * num**2 * width
    norms = 5 * num * width
    patches = num * 256 * width
    expected = patches + 2 * (block + 2 * norms) + norms
    assert count_macs(encoder, 'encode_audio', torch.zeros(1, 48, 32)) == expected


def test_every_step_is_counted():
    steps = macs_by_step(tiny_coavt.tiny_coavt(), num_tokens=8)
    assert all(number > 0 for number in steps.values())
    three = steps['encoder, all three streams']
    assert steps['encoder, AV alone'] < three
    parts = sum(steps[f'encoder, {s} alone'] for s in ('AV', 'A', 'V'))
    assert three < parts  # the trunks run once


def test_parameters_of_a_plain_module():
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(3))
    model.fc = nn.Linear(2, 2)
    model.act = nn.GELU()
    assert parameters_by_part(model) == {'fc': 6, 'itself': 3}
