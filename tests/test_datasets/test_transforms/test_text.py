from collections import Counter

import numpy as np
import pytest

from coavt_mm.datasets.transforms import AllCaptions, PickCaption, TokenizeText
from coavt_mm.errors import ConfigError, ManifestError


def row(**fields):
    empty = dict(captions=[], audio_captions=[], visual_captions=[], labels=[])
    return {'sample_id': 'x', **empty, **fields}


def test_picks_by_weight():
    np.random.seed(0)
    pick = PickCaption(dict(captions=3.0, audio_captions=1.0, visual_captions=0.0))
    fields = row(captions=['a', 'b'], audio_captions=['s'], visual_captions=['v'])
    drawn = Counter()
    for _ in range(400):
        results = pick(dict(fields))
        assert len(results['texts']) == 1
        drawn[results['texts'][0], results['text_streams'][0]] += 1
    assert set(drawn) == {('a', 'AV'), ('b', 'AV'), ('s', 'A')}
    assert 70 < drawn['s', 'A'] < 130
    assert 110 < drawn['a', 'AV'] < 190


def test_only_filled_fields_take_part():
    pick = PickCaption(dict(captions=1.0, visual_captions=1e-9))
    results = pick(row(visual_captions=['v']))
    assert (results['texts'], results['text_streams']) == (['v'], ['V'])


def test_templates_serve_rows_without_captions():
    np.random.seed(0)
    pick = PickCaption(templates=['a {}', 'the {}'])
    drawn = {pick(row(labels=['dog', 'cat']))['texts'][0] for _ in range(40)}
    assert drawn == {'a dog', 'the dog', 'a cat', 'the cat'}
    assert pick(row(labels=['dog'], captions=['c']))['texts'] == ['c']


def test_stages_of_epochs_come_before_the_rest():
    fields = row(captions=['a'], audio_captions=['s'], visual_captions=['v'])
    visual = dict(epochs=1, fields=dict(visual_captions=1.0))
    audio = dict(epochs=2, fields=dict(audio_captions=1.0))
    pick = PickCaption(stages=[visual, audio])
    texts = [pick({**fields, 'epoch': epoch})['texts'][0] for epoch in range(5)]
    assert texts == ['v', 's', 's', 'a', 'a']
    with pytest.raises(ConfigError, match='stages need a sampler that tells'):
        pick(dict(fields))
    for stage in (dict(epochs=1), {**audio, 'epochs': 0}, {**audio, 'until': 3}):
        with pytest.raises(ConfigError, match='is not dict'):
            PickCaption(stages=[visual, stage])


@pytest.mark.parametrize('transform', [PickCaption(), AllCaptions()])
def test_nothing_to_say_is_an_error(transform):
    with pytest.raises(ManifestError, match='clip x: no text in captions'):
        transform(row(labels=['dog']))


def test_all():
    fields = row(captions=['a', 'b'], visual_captions=['v'], audio_captions=['s'])
    results = AllCaptions(('captions', 'visual_captions'))(dict(fields))
    assert results['texts'] == ['a', 'b', 'v']
    assert results['text_streams'] == ['AV', 'AV', 'V']
    results = AllCaptions(templates=['a {}', 'the {}'])(row(labels=['dog']))
    assert results['texts'] == ['a dog', 'the dog']


@pytest.mark.parametrize('make', [
    lambda: PickCaption(dict(caption=1.0)), lambda: AllCaptions(['caption']),
    lambda: PickCaption(dict(captions=0.0)), lambda: PickCaption(dict(captions=-1.0)),
    lambda: PickCaption(stages=[dict(epochs=1, fields=dict(captions=0.0))]),
])  # fmt: skip
def test_bad_fields_are_errors(make):
    with pytest.raises(ConfigError, match='caption'):
        make()


def test_tokenises(vocabulary):
    results = TokenizeText(str(vocabulary), 5)(dict(texts=['The dog', 'a b c d e f']))
    short, long = results['input_ids']
    assert short.dtype == np.int64 and short.tolist() == [2, 5, 6, 3]
    assert len(long) == 5 and long[0] == 2 and long[-1] == 3
