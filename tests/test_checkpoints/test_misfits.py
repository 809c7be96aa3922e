"""Weights of other sizes: the message names the file and the setting."""

import pytest
import tiny_coavt

from coavt_mm.checkpoints import load_weights, save_weights
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

OTHERS = [
    ('query_encoder', 'context_dims', 16, 28),
    ('query_encoder', 'num_queries', 3, 5),
    ('query_encoder', 'vocab_size', 30, 44),
    ('query_encoder', 'max_tokens', 16, 20),
    ('query_encoder', 'hidden_dims', 24, 30),
    ('text_encoder', 'config.vocab_size', 30, 31),
    ('av_encoder', 'embed_dims', 16, 32),
]


@pytest.mark.parametrize(('part', 'setting', 'theirs', 'ours'), OTHERS)
def test_file_and_setting_are_named(tmp_path, part, setting, theirs, ours):
    cfg = tiny_coavt.tiny_cfg()[part]
    path = tmp_path / 'part.pth'
    save_weights(MODELS.build(cfg).state_dict(), path)
    if setting.startswith('config.'):
        cfg['config'] = dict(cfg['config'], **{setting[7:]: ours})
    else:
        cfg[setting] = ours
    with pytest.raises(CheckpointError) as caught:
        load_weights(path, MODELS.build(cfg), strict=False)
    said = str(caught.value)
    assert said.startswith(f'{path}: the weights do not fit; ')
    expected = (
        f'; {part}.{setting} is {theirs} in the checkpoint and {ours} in the config'
    )
    assert said.endswith(expected)


def test_of_a_whole_model_likewise(tmp_path):
    path = tmp_path / 'whole.pth'
    save_weights(tiny_coavt.tiny_coavt().state_dict(), path)
    head = dict(type='ContrastiveHead', embed_dims=20, text_dims=12, proj_dims=6)
    with pytest.raises(
        CheckpointError, match='contrastive_head.proj_dims is 8 in .* 6'
    ):
        load_weights(path, tiny_coavt.tiny_coavt(contrastive_head=head))
