"""The shapes that the public functions of the models promise, checked as they run.

The package itself never checks them: jaxtyping's annotations cost nothing there.
"""

import inspect

import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import jaxtyped
from tiny_coavt import samples, tiny_batch, tiny_coavt

from coavt_mm import models
from coavt_mm.models import heads, matching
from coavt_mm.models.layers import draw_negatives

CLASSES = [c for c in vars(models).values() if inspect.isclass(c)]


def _says_shapes(function):
    return 'jaxtyping' in str(getattr(function, '__annotations__', ''))


@pytest.fixture
def checked(monkeypatch):
    """Check every method and function that says a shape; gives their names."""
    found = set()
    for owner in (*CLASSES, heads, matching):
        for name, function in list(vars(owner).items()):
            if inspect.isfunction(function) and _says_shapes(function):
                guarded = jaxtyped(function, typechecker=beartype)
                monkeypatch.setattr(owner, name, guarded)
                found.add(f'{owner.__name__.rpartition(".")[2]}.{name}')
    return found


def test_training_and_prediction_keep_the_shapes(checked):
    assert {'ContrastiveHead.similarity', 'QueryEncoder.encode_pair'} <= checked
    assert {'JointAVEncoder.encode_av', 'heads.contrastive_loss'} <= checked
    av_head = dict(type='AVContrastiveHead', weight=1.0)
    model, batch = tiny_coavt(av_head=av_head), tiny_batch(3)
    batch['has_audio'][1] = False
    losses = model(batch, samples(3), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    model.eval()
    model(tiny_batch(3, num_frames=2), samples(3), mode='predict')
    tokens = model.encode_av(batch['spectrogram'], batch['frames'][:, 0])
    model.match(tokens, batch['input_ids'], batch['attention_mask'])
    model.query_encoder.attention_maps(tokens)


def test_a_wrong_shape_is_noticed(checked):
    model = tiny_coavt()
    with pytest.raises(Exception, match='B 3 H W'):
        model.encode_visual(torch.zeros(2, 1, 32, 32))
    head = model.contrastive_head
    feats, texts = torch.zeros(2, 3, 8), torch.zeros(2, 8)
    with pytest.raises(Exception, match='G E'):
        head.similarity(feats, texts, feats, texts[:1])
    with pytest.raises((BeartypeCallHintViolation, TypeError)):
        guarded = jaxtyped(draw_negatives, typechecker=beartype)
        guarded(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.bool))
