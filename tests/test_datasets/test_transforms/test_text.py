import contextlib
import json
import pickle
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_equal
from tokenizers import BertWordPieceTokenizer
from transformers import PreTrainedTokenizerFast

from coavt_mm.datasets.tokenizer import SPECIAL_TOKENS, build_tokenizer
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


def test_the_stage_says_which_captions():
    fields = row(captions=['a'], audio_captions=['s'], visual_captions=['v'])
    pick = PickCaption()
    stages = [None, {}, dict(epochs=1), dict(captions=dict(visual_captions=1.0))]
    texts = [pick({**fields, 'stage': stage})['texts'][0] for stage in stages]
    assert texts == ['a', 'a', 'a', 'v']
    assert pick(fields)['text_streams'] == ['AV']


def test_old_stages_of_epochs_come_before_the_rest():
    fields = row(captions=['a'], audio_captions=['s'], visual_captions=['v'])
    visual = dict(epochs=1, fields=dict(visual_captions=1.0))
    audio = dict(epochs=2, fields=dict(audio_captions=1.0))
    with pytest.warns(FutureWarning, match=r'sampler.curriculum=\['):
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


@pytest.fixture(scope='module')
def folder(tmp_path_factory, vocabulary):
    """A tokenizer as hubs have them: truncation and padding lie in tokenizer.json."""
    path = tmp_path_factory.mktemp('tokenizer')
    transformers = PreTrainedTokenizerFast(
        tokenizer_object=BertWordPieceTokenizer(str(vocabulary))._tokenizer,
        **SPECIAL_TOKENS,
    )
    transformers.backend_tokenizer.enable_truncation(4)
    transformers.backend_tokenizer.enable_padding(length=9)
    transformers.save_pretrained(str(path))
    assert json.loads((path / 'tokenizer.json').read_text())['truncation']
    return path


def random_texts(seed):
    """Words, runs of letters, special tokens, accents and signs, in any number."""
    draw = random.Random(seed)
    words = ['the', 'dog', 'barksdog', 'x' * 120, '[SEP]', '[DEC]', '[MASK]', 'É', '汉',
             '.,', '\u200b', '[sep]', '\t', 'Dog’s', '🐕']  # fmt: skip
    yield from ('', ' ', '[CLS]')
    for _ in range(60):
        joint = draw.choice([' ', '', '  \n'])
        yield joint.join(draw.choices(words, k=draw.randrange(12)))


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_it_cuts_as_the_tokenizer_itself_does(kind, vocabulary, folder):
    name = str(vocabulary if kind == 'file' else folder)
    theirs = build_tokenizer.__wrapped__(name)  # of its own: the calls leave a state
    texts = list(random_texts(0))
    for length in (2, 3, 4, 5, 9, 30, 500):
        ours = TokenizeText(name, length)(dict(texts=texts))['input_ids']
        for text, ids in zip(texts, ours, strict=True):
            wanted = theirs(
                text, truncation=True, max_length=length, padding='do_not_pad'
            )['input_ids']
            assert ids.tolist() == wanted, (text, length)


@pytest.mark.parametrize('length', [-1, 0, 1, 7.5, '12', None])
def test_a_length_without_room_for_a_text_is_an_error(vocabulary, length):
    with pytest.raises(ConfigError, match='max_tokens=.*at least 2'):
        TokenizeText(str(vocabulary), length)


def test_two_lengths_in_threads_do_not_meet(vocabulary):
    short, long = (TokenizeText(str(vocabulary), length) for length in (4, 9))
    shared = build_tokenizer(str(vocabulary))
    texts = ['the dog barks a b c d e f g'] * 20
    barrier = threading.Barrier(3)

    def ours(transform):
        barrier.wait(30)
        rows = [transform(dict(texts=texts))['input_ids'] for _ in range(40)]
        return {len(ids) for row in rows for ids in row}

    def somebody_else():
        barrier.wait(30)
        for length in [3, 5] * 400:
            with contextlib.suppress(RuntimeError):  # they may still hurt themselves
                shared(texts[:3], truncation=True, max_length=length, padding=True)

    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(somebody_else)
        lengths = list(pool.map(ours, (short, long)))
        waiting.result()
    assert lengths == [{4}, {9}]


def test_it_can_be_sent_to_another_process(vocabulary):
    transform = TokenizeText(str(vocabulary), 5)
    again = pickle.loads(pickle.dumps(transform))
    row = dict(texts=['the dog barks a b c'])
    assert_equal(again(dict(row))['input_ids'], transform(dict(row))['input_ids'])
