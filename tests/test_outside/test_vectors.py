"""One vector for each input says what `embed` says of it."""

import numpy as np
import pytest
import torch

from coavt_mm.errors import ClipError, ConfigError, InputError
from coavt_mm.models.heads import pool_tokens
from coavt_mm.outside.rows import as_clip
from coavt_mm.outside.vectors import Vectors, unit

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 255, (4, 24, 40, 3), np.uint8)


@pytest.fixture
def vectors(coavt):
    return Vectors(coavt)


def queries(coavt, stream=None, **given):
    """(Q, E) of a clip from what `embed` gives: the mean of windows and frames."""
    (clip,) = coavt.embed(**given)['clips']
    each = [w['embeddings'][stream or w['streams'][0]] for w in clip['windows']]
    return np.mean([one.mean(0) for one in each], 0)


def test_text(coavt, vectors):
    found = vectors.embed([dict(text='the dog'), dict(text='barks')])
    for each, text in zip(found, ('the dog', 'barks'), strict=True):
        (wanted,) = coavt.embed(text=text)['texts']
        np.testing.assert_allclose(each.vector, wanted['embedding'], atol=1e-6)
        assert each.rows(3).shape == (3, vectors.width)


@pytest.mark.parametrize('stream', [None, 'AV', 'A', 'V'])
def test_clip_by_stream(coavt, vectors, short, stream):
    (found,) = vectors.embed([dict(video=short)], stream)
    wanted = queries(coavt, stream, video=short)
    assert found.queries.shape == (vectors.count, vectors.width)
    np.testing.assert_allclose(found.queries, wanted, atol=1e-6)
    np.testing.assert_allclose(found.vector, unit(wanted.mean(0)), atol=1e-6)


def test_a_long_clip_counts_to_its_end(coavt, vectors, make_clip, long):
    (whole,) = vectors.embed([dict(video=long)])
    np.testing.assert_allclose(whole.queries, queries(coavt, video=long), atol=1e-6)
    (begin,) = vectors.embed([dict(video=make_clip(seconds=0.5))])
    assert np.abs(whole.vector - begin.vector).max() > 1e-4


def test_in_whatever_batch(vectors, short, silent, long):
    rows = [dict(video=clip) for clip in (short, silent, long)] + [dict(text='dog')]
    together = vectors.embed(rows, batch_size=4)
    for row, found in zip(rows, together, strict=True):
        (alone,) = vectors.embed([row], batch_size=1)
        np.testing.assert_allclose(found.vector, alone.vector, atol=1e-6)


@pytest.mark.parametrize(
    ('row', 'given', 'stream'),
    [
        (
            dict(audio=dict(array=NOISE, sampling_rate=RATE)),
            dict(audio=(NOISE, RATE)),
            'A',
        ),
        (dict(audio=(NOISE, RATE), video=FRAMES), None, 'AV'),
        (
            dict(video=torch.from_numpy(FRAMES).permute(0, 3, 1, 2)),
            dict(video=[FRAMES]),
            'V',
        ),
        (dict(video=np.moveaxis(FRAMES, -1, 1)), dict(video=[FRAMES]), 'V'),
        (
            dict(video=dict(array=FRAMES, video_metadata=dict(fps=8))),
            dict(video=[dict(video=FRAMES, fps=8)]),
            'V',
        ),
    ],
)
def test_arrays(coavt, vectors, row, given, stream):
    given = given or dict(video=[FRAMES], audio=[(NOISE, RATE)])
    (found,) = vectors.embed([row])
    np.testing.assert_allclose(
        found.queries, queries(coavt, stream, **given), atol=1e-6
    )


def test_files_of_datasets(coavt, vectors, short):
    content = dict(path=None, bytes=short.read_bytes())
    for row in (dict(video=content), dict(video=dict(path=str(short), bytes=None))):
        (found,) = vectors.embed([row])
        np.testing.assert_allclose(
            found.queries, queries(coavt, video=short), atol=1e-6
        )


@pytest.mark.parametrize(
    ('columns', 'stream'), [('v', 'V'), ('a', 'A'), ('va', 'AV'), ('vt', 'V')]
)
def test_a_row_says_what_is_looked_at(coavt, vectors, short, columns, stream):
    """A file's own sound doesn't count where a task shows the picture."""
    names = dict(v='video', a='audio', t='text')
    row = {names[x]: 'the dog' if x == 't' else str(short) for x in columns}
    (found,) = vectors.embed([row], own_sound=False)
    np.testing.assert_allclose(
        found.queries, queries(coavt, stream, video=short), atol=1e-6
    )


def test_text_with_a_clip_is_the_sum_of_both(vectors, short):
    row = dict(text='the dog', video=short)
    (both,) = vectors.embed([row])
    (text,) = vectors.embed([dict(text='the dog')])
    (clip,) = vectors.embed([dict(video=short)])
    np.testing.assert_allclose(both.vector, unit(text.vector + clip.vector), atol=1e-6)
    np.testing.assert_allclose(
        both.rows(vectors.count), text.vector + clip.queries, atol=1e-6
    )


def test_mean_tokens_are_those_of_the_metric(coavt, short):
    vectors = Vectors(coavt, 'encoder')
    (found,) = vectors.embed([dict(video=short)], 'V')
    (answer, _), *_ = coavt.answers(short, keep_tokens=True)
    tokens = torch.from_numpy(answer['windows'][0]['tokens']['V'])
    np.testing.assert_allclose(found.queries[0], pool_tokens(tokens).mean(0), atol=1e-6)
    with pytest.raises(ConfigError, match="no texts in the space 'encoder'"):
        vectors.embed([dict(text='the dog')])


MISSING = dict(video='no_such.mp4')


@pytest.mark.parametrize(
    ('row', 'stream', 'error', 'message'),
    [
        (MISSING, None, ClipError, 'no_such.mp4'),
        (dict(video='silent'), 'A', ClipError, "has only .'V'.*wanted is A"),
        (dict(text=' '), None, InputError, 'a text is empty'),
    ],
)
def test_what_has_no_vector(coavt, silent, row, stream, error, message):
    """An error, or on demand zeros and a warning; the others have theirs."""
    row = dict(video=silent) if row == dict(video='silent') else row
    rows = [dict(text='the dog'), row]
    with pytest.raises(error, match=message):
        Vectors(coavt).embed(rows, stream)
    with pytest.warns(UserWarning, match=f'(?s)1 inputs get zeros.*{message}'):
        dog, none = Vectors(coavt, on_error='zeros').embed(rows, stream)
    assert not none.vector.any()
    np.testing.assert_allclose(np.linalg.norm(dog.vector), 1, atol=1e-6)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (dict(image=1), 'input 0 has neither text nor video nor audio'),
        (dict(audio=NOISE), 'a pair'),
        (dict(audio=dict(array=NOISE)), 'sample rate'),
        (dict(video=FRAMES.astype(float)), 'uint8'),
        (dict(video=object()), 'not a object'),
        (dict(text=3), 'not a int'),
    ],
)
def test_wrong_input(vectors, row, message):
    with pytest.raises(InputError, match=message):
        vectors.embed([row])


def test_wrong_options(coavt, classifier, vectors):
    with pytest.raises(InputError, match="space must be .* 'querry'"):
        Vectors(coavt, 'querry')
    with pytest.raises(InputError, match="on_error must be .* 'keep'"):
        Vectors(coavt, on_error='keep')
    with pytest.raises(InputError, match="stream must be .* 'B'"):
        vectors.embed([dict(text='dog')], 'B')
    with pytest.raises(ConfigError, match='no contrastive_head'):
        Vectors(classifier)


def test_a_row_without_clip():
    assert as_clip(dict(text='dog', video=None), 'input 0') is None
