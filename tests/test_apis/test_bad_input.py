"""Every public function: what it can't take is one clear line."""

import numpy as np
import pytest
import torch
from tiny_apis import call

from coavt_mm.apis import caption, classify, embed, match, retrieve, visualize
from coavt_mm.errors import ClipError, CoAVTError, ConfigError, InputError


@pytest.mark.parametrize(
    ('clips', 'message'),
    [
        ('nowhere/at all.mp4', 'nowhere/at all.mp4: No such file'),
        ({'video': '{short}', 'audio': 'gone.wav'}, 'gone.wav: No such file'),
        ('memory://gone.mp4', 'memory://gone.mp4: can not be read'),
        ('nostore://x.mp4', 'nostore://x.mp4: can not be read'),
        ([], 'the list is empty'),
        (42, 'not a int'),
        ([None], 'not a NoneType'),
        ({'vidio': 'x'}, "unknown key 'vidio'; did you mean 'video'"),
        ({}, 'neither video nor audio'),
        (b'', 'no bytes'),
        (b'no film at all', 'clip 0: '),
        (np.zeros((3, 8, 8)), r'frames must be \(frames, height, width, 3\)'),
        (np.zeros((3, 8, 8, 3)), 'must be uint8'),
        (torch.zeros(0, 8, 8, 3, dtype=torch.uint8), 'frames must be'),
        ({'video': '{short}', 'name': 3}, 'name of a clip must be a string'),
        ({'video': '{short}', 'start': 'a'}, 'start must be a number'),
        ({'video': '{short}', 'start': 2, 'end': 1}, 'is not after start'),
        ({'video': '{short}', 'start': 99}, 'neither sound nor picture from 99 s'),
        ({'audio': np.zeros(100, np.float32)}, 'comes with its rate'),
        ({'audio': (np.zeros(100, np.int16), 16000)}, 'must be float'),
        ({'audio': (np.zeros((9, 3), np.float32), 16000)}, r'\(channels, samples\)'),
        ({'audio': (np.full(100, np.nan, np.float32), 16000)}, 'NaN'),
        ({'audio': (np.full(9, np.inf, np.float64), 16000)}, 'NaN or inf'),
        ({'audio': (np.full(9, 1e39), 16000)}, 'NaN or inf'),
        ({'audio': (np.full(9, 32767.0), 16000)}, 'reaches 32767, full scale is 1'),
        ({'audio': (np.zeros(100, np.float32), 0)}, 'above 0 Hz'),
        ({'audio': (np.zeros(99, np.float32), 16000)}, 'too little sound'),
    ],
)  # fmt: skip
@call
def test_bad_clips(call, coavt, short, clips, message):
    def fill(value):
        if isinstance(value, dict):
            return {key: fill(part) for key, part in value.items()}
        if isinstance(value, list):
            return [fill(part) for part in value]
        return str(short) if isinstance(value, str) and value == '{short}' else value

    with pytest.raises(CoAVTError, match=message) as caught:
        call(fill(clips), model=coavt)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'kind', ['truncated', 'zero_bytes', 'text', 'noise', 'missing', 'folder']
)
@call
def test_damaged_files_are_named(call, coavt, horrors, kind):
    if kind == 'folder':
        assert len(call(horrors['folder'], model=coavt)) == 1
        return
    with pytest.raises(ClipError, match=horrors[kind].name):
        call(horrors[kind], model=coavt)


@pytest.mark.parametrize(
    ('texts', 'message'),
    [([], 'empty'), (3, 'int'), ([3], 'int'), ('  ', 'empty string'), (None, 'None')],
)
def test_bad_texts(coavt, short, texts, message):
    with pytest.raises(InputError, match=message):
        match(short, texts, model=coavt)
    with pytest.raises(InputError, match='labels|' + message):
        classify(short, texts, model=coavt)
    if texts is not None:
        with pytest.raises(InputError, match=message):
            embed(text=texts, model=coavt)


def test_both_sides_alike_and_mixtures(coavt, short):
    for pair in (('dog', ['barks']), (short, [str(short)])):
        with pytest.raises(InputError, match='are both'):
            retrieve(*pair, model=coavt)
    with pytest.raises(InputError, match="mixes clips and texts; 'dog'"):
        retrieve('the', [str(short), 'dog'], model=coavt)


def test_bad_options(coavt, classifier, short):
    for options in (dict(batch_size=0), dict(batch_size=1.5), dict(batch_size='8')):
        with pytest.raises(InputError, match='batch_size must be a whole number'):
            embed(short, model=coavt, **options)
    with pytest.raises(InputError, match="stream must be 'AV'"):
        retrieve('dog', short, stream='T', model=coavt)
    with pytest.raises(InputError, match='topk'):
        retrieve('dog', short, topk=0, model=coavt)
    with pytest.raises(InputError, match='no place {}'):
        classify(short, 'dog', templates='the dog', model=coavt)
    with pytest.raises(InputError, match="'dogg' is none of.*did you mean 'dog'"):
        classify(short, ['dogg'], model=classifier)
    for value in (3, None, True):
        with pytest.raises(InputError, match='query must be clips or texts'):
            retrieve(value, short, model=coavt)
    for out_dir, texts in ((3, 'dog'), ('out', []), ('out', 3)):
        with pytest.raises(InputError, match='out_dir|texts'):
            visualize(short, out_dir, texts, model=coavt)
    with pytest.raises(ClipError, match='gone.mp4'):
        visualize('gone.mp4', 'out', model=coavt)
    for options, message in (
        (dict(num_beams='3'), 'num_beams must be a whole number'),
        (dict(beams=3), "unknown .'beams'."),
        (dict(top_p=2.0), 'top_p is 2.0'),
    ):
        with pytest.raises(CoAVTError, match=message):
            caption(short, model=coavt, **options)
    with pytest.raises(InputError, match='caption must be a dict'):
        coavt(short, caption=True)
    with pytest.raises(InputError, match='at least one of'):
        embed(model=coavt)
    with pytest.raises(InputError, match='1 videos and 2 sounds'):
        embed(short, [short, short], model=coavt)


def test_what_a_model_can_not_do(classifier, short):
    for function in (
        lambda: embed(short, model=classifier),
        lambda: retrieve('dog', short, model=classifier),
        lambda: caption(short, model=classifier),
        lambda: match(short, 'dog', model=classifier),
    ):
        with pytest.raises(ConfigError, match='this CoAVTClassifier has no'):
            function()
    with pytest.raises(InputError, match='templates are for a CoAVT'):
        classify(short, templates='{}', model=classifier)
