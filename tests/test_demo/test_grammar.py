from itertools import product

import numpy as np
import pytest

from coavt_mm.datasets import build_tokenizer
from coavt_mm.demo import grammar
from coavt_mm.demo.grammar import FACTORS, parse_caption


def _every_value():
    """Yield values so that each class of each factor comes up, paired at random."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        yield {name: str(rng.choice(list(FACTORS[name]))) for name in FACTORS}


def test_numbers_of_combinations():
    assert len(grammar.PICTURES) == 288
    assert len(grammar.SOUNDS) == 72
    assert len(set(grammar.class_names())) == len(grammar.class_names()) == 31


def test_no_phrase_belongs_to_two_classes():
    phrases = [p for values in FACTORS.values() for ps in values.values() for p in ps]
    assert len(phrases) == len(set(phrases))


def test_every_template_and_synonym_is_read_back():
    templates = grammar.VISUAL_TEMPLATES + grammar.AUDIO_TEMPLATES
    for template in templates:
        names = [name for name in FACTORS if f'{{{name}}}' in template]
        options = [
            [(value, word) for value, words in FACTORS[name].items() for word in words]
            for name in names
        ]
        for choice in product(*options):
            values = {
                name: value for name, (value, _) in zip(names, choice, strict=True)
            }
            words = {name: word for name, (_, word) in zip(names, choice, strict=True)}
            assert parse_caption(template.format(**words)) == values


@pytest.mark.parametrize(
    'stream, names',
    [
        ('AV', set(FACTORS)),
        ('A', {'timbre', 'contour', 'count'}),
        ('V', {'shape', 'colour', 'place', 'ground'}),
    ],
)
def test_captions_name_what_their_stream_shows(stream, names):
    rng = np.random.default_rng(1)
    for values in _every_value():
        text = grammar.caption(values, stream, rng)
        assert parse_caption(text) == {name: values[name] for name in names}


def test_full_captions_come_in_both_orders():
    rng = np.random.default_rng(2)
    values = next(_every_value())
    shapes = FACTORS['shape'][values['shape']]
    sounds = FACTORS['timbre'][values['timbre']]
    orders = set()
    for _ in range(40):
        words = grammar.caption(values, 'AV', rng).split()
        shape = next(i for i, word in enumerate(words) if word in shapes)
        sound = next(i for i, word in enumerate(words) if word in sounds)
        orders.add(shape < sound)
    assert orders == {True, False}


def test_paraphrases_differ_and_agree():
    rng = np.random.default_rng(3)
    for values in _every_value():
        texts = grammar.paraphrases(values, 'AV', 3, rng)
        assert len(set(texts)) == 3
        assert all(parse_caption(text) == values for text in texts)


@pytest.mark.parametrize(
    'text, named',
    [
        ('', {}),
        ('a purple hexagon', {}),
        ('a red blue circle', {'shape': 'circle'}),
        ('a red scarlet DISC', {'shape': 'circle', 'colour': 'red'}),
        ('Upper   left, a single time.', {'place': 'top left', 'count': 'once'}),
        ('starry reddish rings', {}),
        ('top right and bottom right', {}),
    ],
)
def test_parse_odd_texts(text, named):
    assert parse_caption(text) == named


def test_vocabulary_covers_every_caption(tmp_path):
    pieces = grammar.vocabulary()
    assert pieces[0] == '[PAD]' and '[DEC]' in pieces
    assert len(pieces) == len(set(pieces)) < 200
    vocab = tmp_path / 'vocab.txt'
    vocab.write_text('\n'.join(pieces) + '\n', encoding='utf-8')
    tokenizer = build_tokenizer(str(vocab))
    assert tokenizer.pad_token_id == 0
    rng = np.random.default_rng(4)
    for values in _every_value():
        text = grammar.caption(values, 'AV', rng)
        ids = tokenizer(text)['input_ids']
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(text.split()) + 2
        assert parse_caption(tokenizer.decode(ids[1:-1])) == values
