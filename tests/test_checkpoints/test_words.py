"""Weights go into a model of the same word pieces, of which there may be more."""

import pytest
import tiny_apis

from coavt_mm.checkpoints import config_to_json
from coavt_mm.checkpoints.words import check_words
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS


@pytest.fixture
def checkpoint(vocabulary):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    text = config_to_json(cfg, MODELS.build(cfg.model))
    return dict(meta=dict(coavt_config=text))


def model_of(folder, pieces):
    path = folder / 'vocab.txt'
    path.write_text('\n'.join(pieces) + '\n')
    return MODELS.build(tiny_apis.coavt_cfg(path).model)


def test_the_same_pieces_in_another_place(checkpoint, vocabulary, tmp_path):
    pieces = vocabulary.read_text().split('\n')[:-1]
    assert check_words(checkpoint, model_of(tmp_path, pieces)) == []
    # more of them may follow, such as those of new captions
    model = model_of(tmp_path, pieces)
    (tmp_path / 'vocab.txt').write_text('\n'.join([*pieces, 'walrus']) + '\n')
    assert check_words(checkpoint, model) == []


def test_pieces_in_another_order_are_refused(checkpoint, vocabulary, tmp_path):
    pieces = vocabulary.read_text().split('\n')[:-1]
    model = model_of(tmp_path, [*pieces[:-2], pieces[-1], pieces[-2]])
    number = len(pieces) - 2
    said = (
        r'x.pth: trained with another tokenizer than .*vocab.txt: 2 word pieces have '
        rf"other numbers, such as {number}, '{pieces[-2]}' there and '{pieces[-1]}' he"
    )
    with pytest.raises(CheckpointError, match=said):
        check_words(checkpoint, model, 'x.pth')


def test_nothing_is_said_where_one_is_not_known(checkpoint, vocabulary, tmp_path):
    model = model_of(tmp_path, vocabulary.read_text().split('\n')[:-1][::-1])
    for other in ({}, dict(meta={}), dict(meta=None), dict(state_dict={})):
        assert check_words(other, model) == []
    model.tokenizer_path = None
    assert check_words(checkpoint, model) == []
