"""Weights go into a model of the same word pieces, of which there may be more."""

import json
from pathlib import Path
from tempfile import mkdtemp

import pytest
import tiny_apis
import torch

from coavt_mm.checkpoints import config_to_json, load_weights
from coavt_mm.checkpoints.words import check_words
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

TABLE = ['query_encoder.word_embeddings.weight']


@pytest.fixture
def checkpoint(vocabulary):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    text = config_to_json(cfg, MODELS.build(cfg.model))
    return dict(meta=dict(coavt_config=text))


def model_of(folder, pieces):
    # a name is read once in a process
    path = Path(mkdtemp(dir=folder)) / 'vocab.txt'
    path.write_text('\n'.join(pieces) + '\n')
    return MODELS.build(tiny_apis.coavt_cfg(path).model)


def test_the_same_pieces_in_another_place(checkpoint, vocabulary, tmp_path):
    pieces = vocabulary.read_text().split('\n')[:-1]
    assert check_words(checkpoint, TABLE, model_of(tmp_path, pieces)) == []
    # more of them may follow, such as those of new captions
    model = model_of(tmp_path, [*pieces, '[DEC]', 'walrus'])
    assert check_words(checkpoint, TABLE, model) == []


def test_pieces_in_another_order_are_refused(checkpoint, vocabulary, tmp_path):
    pieces = vocabulary.read_text().split('\n')[:-1]
    model = model_of(tmp_path, [*pieces[:-2], pieces[-1], pieces[-2]])
    number = len(pieces) - 2
    said = (
        r'x.pth: trained with another tokenizer than .*vocab.txt: 2 word pieces have '
        rf"other numbers, such as {number}, '{pieces[-2]}' there and '{pieces[-1]}' he"
    )
    with pytest.raises(CheckpointError, match=said):
        check_words(checkpoint, TABLE, model, 'x.pth')


def test_nothing_is_said_where_one_is_not_known(checkpoint, vocabulary, tmp_path):
    model = model_of(tmp_path, vocabulary.read_text().split('\n')[:-1][::-1])
    for other in ({}, dict(meta={}), dict(meta=None), dict(state_dict={})):
        assert check_words(other, TABLE, model) == []
    model.tokenizer_path = None
    assert check_words(checkpoint, TABLE, model) == []


def test_weights_that_have_no_words_are_of_any_tokenizer(
    checkpoint, vocabulary, tmp_path
):
    model = model_of(tmp_path, vocabulary.read_text().split('\n')[:-1][::-1])
    assert check_words(checkpoint, ['av_encoder.norm.A.weight'], model) == []
    with pytest.raises(CheckpointError, match='another tokenizer'):
        check_words(checkpoint, TABLE, model)


def test_dec_counts_as_well(vocabulary, tmp_path):
    """It is added behind a vocabulary that lacks it, where another word may come."""
    pieces = [p for p in vocabulary.read_text().split('\n')[:-1] if p != '[DEC]']
    model = model_of(tmp_path, pieces)
    cfg = tiny_apis.coavt_cfg(Path(model.tokenizer_path))
    carried = dict(meta=dict(coavt_config=config_to_json(cfg, model)))
    said = rf"such as {len(pieces)}, '\[DEC\]' there and 'walrus' here"
    with pytest.raises(CheckpointError, match=said):
        check_words(carried, TABLE, model_of(tmp_path, [*pieces, 'walrus']))


def test_a_config_of_another_release_stops_nothing(checkpoint, vocabulary, tmp_path):
    model = model_of(tmp_path, vocabulary.read_text().split('\n')[:-1][::-1])
    stored = json.loads(checkpoint['meta']['coavt_config'])
    stored['version'] = 99
    checkpoint['meta']['coavt_config'] = json.dumps(stored)
    (line,) = check_words(checkpoint, TABLE, model)
    assert line.startswith('the tokenizer is not compared') and '99' in line


def test_every_way_to_load_weights_looks(checkpoint, vocabulary, tmp_path):
    pieces = vocabulary.read_text().split('\n')[:-1]
    model = model_of(tmp_path, pieces)
    whole = dict(checkpoint, state_dict=model.state_dict())
    torch.save(whole, tmp_path / 'x.pth')
    load_weights(tmp_path / 'x.pth', model)
    other = model_of(tmp_path, pieces[::-1])
    for source in (whole, tmp_path / 'x.pth'):
        with pytest.raises(CheckpointError, match='another tokenizer'):
            load_weights(source, other)
