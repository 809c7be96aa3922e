"""A SentenceTransformer says what `embed` says, also from a folder in a new process."""

import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from coavt_mm.cli.launch import run_tool
from coavt_mm.cli.outside import convert_sentence
from coavt_mm.errors import CheckpointError, ClipError, InputError

sentence_transformers = pytest.importorskip(
    'sentence_transformers', reason='the extra sentence-transformers is not installed'
)

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 255, (4, 24, 40, 3), np.uint8)
SOUND = dict(array=NOISE, sampling_rate=RATE)


@pytest.fixture(scope='module')
def folder(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('saved') / 'model'
    run_tool(partial(convert_sentence, [str(checkpoint), str(path)]))
    return path


@pytest.fixture(scope='module')
def model(folder):
    return sentence_transformers.SentenceTransformer(str(folder), device='cpu')


def mean(clip, stream=None):
    """The vector (E,) of a clip that `embed` gives."""
    each = [w['embeddings'][stream or w['streams'][0]] for w in clip['windows']]
    vector = np.mean([one.mean((0, 1)) for one in each], 0)
    return vector / np.linalg.norm(vector)


def test_equals_embed(model, coavt, short, silent, long):
    texts = ['the dog', 'barks']
    wanted = [each['embedding'] for each in coavt.embed(text=texts)['texts']]
    np.testing.assert_allclose(model.encode(texts), wanted, atol=1e-6)
    clips = [str(clip) for clip in (short, silent, long)]
    found = model.encode(clips, batch_size=2)
    wanted = [mean(clip) for clip in coavt.embed(video=clips)['clips']]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    for stream in ('A', 'V'):
        (wanted,) = coavt.embed(video=[clips[0]])['clips']
        found = model.encode(clips[0], stream=stream)
        np.testing.assert_allclose(found, mean(wanted, stream), atol=1e-6)


def test_arrays_and_pairs(model, coavt):
    (sound, *_), (pair,), (picture,) = (
        coavt.embed(**given)['clips']
        for given in (
            dict(audio=[(NOISE, RATE)]),
            dict(video=[FRAMES], audio=[(NOISE, RATE)]),
            dict(video=[FRAMES]),
        )
    )
    for given, wanted in (
        (SOUND, mean(sound)),
        (dict(audio=SOUND), mean(sound)),
        (FRAMES, mean(picture)),
        (dict(video=np.moveaxis(FRAMES, -1, 1)), mean(picture)),
        (dict(video=FRAMES, audio=SOUND), mean(pair)),
    ):
        np.testing.assert_allclose(model.encode([given])[0], wanted, atol=1e-6)
    both = model.encode([dict(video=FRAMES, text='the dog')])[0]
    total = model.encode('the dog') + mean(picture)
    np.testing.assert_allclose(both, total / np.linalg.norm(total), atol=1e-6)


def test_the_queries(model, coavt, short):
    (found,) = model.encode([str(short)], output_value='token_embeddings')
    (clip,) = coavt.embed(video=[short])['clips']
    wanted = clip['windows'][0]['embeddings']['AV'].mean(0)
    np.testing.assert_allclose(found.cpu(), wanted, atol=1e-6)
    (text,) = model.encode(['the dog'], output_value='token_embeddings')
    assert text.shape == (1, wanted.shape[1])


def test_what_it_says_of_itself(model, coavt):
    assert model.get_embedding_dimension() == len(model.encode('the dog'))
    assert all(map(model.supports, ('text', 'audio', 'video', ('audio', 'video'))))
    assert not model.supports('image')
    np.testing.assert_allclose(
        model.encode('dog', prompt='the '), model.encode('the dog'), atol=1e-6
    )


@pytest.mark.slow
def test_in_a_new_process(folder, model, short):
    code = (
        'import json, sys; from sentence_transformers import SentenceTransformer as S;'
        "m = S(sys.argv[1], device='cpu');"
        "print(json.dumps([m.encode(x).tolist() for x in ('the dog', sys.argv[2])]))"
    )
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(folder), str(short)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout.splitlines()[-1])
    wanted = [model.encode('the dog'), model.encode(str(short))]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_what_is_in_the_folder(folder):
    """Weights and plain data, nothing that is executed."""
    names = {path.name for path in folder.iterdir()}
    assert names == {
        'config_sentence_transformers.json',
        'model.safetensors',
        'modules.json',
    }


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (('the dog', 'barks'), 'not a tuple'),
        (object(), 'not a object'),
        (NOISE, 'not a ndarray'),
    ],
)
def test_wrong_inputs(model, given, message):
    with pytest.raises(InputError, match=message):
        model[0].preprocess([given])


def test_files_that_sentence_transformers_does_not_know(model, short, tmp_path):
    """By the ending or because it is there: no path is taken for a text."""
    other = tmp_path / 'clip.m4v'
    shutil.copy(short, other)
    wanted = model.encode(str(short))
    for value in (str(other), other, other.read_bytes()):
        np.testing.assert_allclose(model.encode([value])[0], wanted, atol=1e-6)
    with pytest.raises(ClipError, match='no_such.mp4'):
        model.encode('no_such.mp4')


def test_a_folder_without_weights(folder, tmp_path):
    (tmp_path / 'modules.json').write_text((folder / 'modules.json').read_text())
    with pytest.raises(CheckpointError, match='has no model.safetensors'):
        sentence_transformers.SentenceTransformer(str(tmp_path), device='cpu')
