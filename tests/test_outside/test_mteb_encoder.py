"""MTEB asks the model, and gets what `embed` says; nothing is downloaded.

The mocks' sounds are written by a function of ours: `datasets` has torchcodec do it,
which wants FFmpeg's libraries. Reading is the encoder's own.
"""

import io
import wave

import numpy as np
import pytest
import tiny_apis
import torch

from coavt_mm.apis import load_model
from coavt_mm.checkpoints import save_weights
from coavt_mm.errors import (
    CheckpointError,
    ClipError,
    InputError,
)
from coavt_mm.models.similarity import similarity
from coavt_mm.outside.vectors import unit

mteb = pytest.importorskip('mteb', reason='the extra mteb is not installed')
datasets = pytest.importorskip('datasets')
encoders = pytest.importorskip('coavt_mm.outside.mteb_encoder')
mocks = pytest.importorskip('mteb.mocks')

RAN = mteb.results.TaskResult


@pytest.fixture
def encoder(coavt):
    return encoders.CoAVTEncoder(coavt, revision='1')


@pytest.fixture
def seen(encoder, monkeypatch):
    """What the rows held that the model was asked for."""
    embed, kinds = encoder.vectors.embed, set()

    def watched(rows, *args, **options):
        kinds.update('+'.join(sorted(k for k in row if row[k])) for row in rows)
        return embed(rows, *args, **options)

    monkeypatch.setattr(encoder.vectors, 'embed', watched)
    return kinds


@pytest.fixture
def stored_sounds(monkeypatch):
    """Arrays of sound become WAV files in a data set."""

    def encode(self, value):
        if 'array' not in value:
            return value
        content = io.BytesIO()
        with wave.open(content, 'wb') as file:
            file.setparams((1, 2, value['sampling_rate'], 0, 'NONE', ''))
            file.writeframes((np.array(value['array']) * 32767).astype('<i2').tobytes())
        return dict(bytes=content.getvalue(), path=None)

    monkeypatch.setattr(datasets.Audio, 'encode_example', encode)


@pytest.mark.slow
def test_every_mock_task_of_text_sound_and_video_runs(encoder, seen, stored_sounds):
    """By the results: `all_passed` holds of what was skipped as well."""
    results = mteb.mock_run(encoder)
    compatible = [
        task.metadata
        for task in mocks.ALL_MOCK_TASK_TEST_GRID
        if set(task.metadata.modalities) <= {'text', 'audio', 'video'}
    ]
    for modality, least in (('text', 30), ('audio', 10), ('video', 7)):
        names = [m.name for m in compatible if modality in m.modalities]
        ran = [name for name in names if isinstance(results[name], RAN)]
        assert ran == names and len(ran) >= least
    assert seen == {'text', 'audio', 'video'}


@pytest.mark.slow
def test_tasks_of_sound_and_picture_together(encoder, seen, stored_sounds):
    wanted = list(mocks.MOCK_MULTIMODAL_TASKS)
    results = mteb.evaluate(encoder, wanted, cache=None, show_progress_bar=False)
    names = {task.metadata.name for task in wanted}
    assert {each.task_name for each in results.task_results} == names
    assert seen == {'text', 'audio', 'video', 'audio+video', 'audio+text+video'}


class Metadata:
    """What of a task the encoder reads."""

    def __init__(self, category, type_='Any2AnyRetrieval'):
        self.category, self.type = category, type_

    def get_modalities(self, prompt_type):
        query, document = self.category.split('2')
        letters = query if prompt_type == 'query' else document
        return [dict(t='text', a='audio', v='video')[letter] for letter in letters]


def encode(encoder, columns, category='v2c', side=None, type_='Any2AnyRetrieval'):
    """Rows as mteb hands them over: a loader with a data set of files."""
    made = datasets.Dataset.from_dict(columns)
    for name, kind in (('video', datasets.Video()), ('audio', datasets.Audio())):
        if name in columns:
            made = made.cast_column(name, kind)
    loader = torch.utils.data.DataLoader(made, batch_size=2)
    prompt_type = side and mteb.types.PromptType(side)
    return encoder.encode(
        loader,
        task_metadata=Metadata(category, type_),
        hf_split='test',
        hf_subset='default',
        prompt_type=prompt_type,
        show_progress_bar=False,
    )


def queries(coavt, stream, clips):
    """(n, Q, E) of clips by `embed`, the mean over frames and windows."""
    found = coavt.embed(video=[str(clip) for clip in clips])['clips']
    return np.stack([
        np.mean([w['embeddings'][stream].mean(0) for w in clip['windows']], 0)
        for clip in found
    ])  # fmt: skip


@pytest.mark.parametrize(('columns', 'stream'), [('v', 'V'), ('a', 'A'), ('va', 'AV')])
def test_columns_say_the_stream_and_the_other_side_the_vector(
    encoder, coavt, short, long, columns, stream
):
    """Against texts all queries, against anything else the mean; long clips whole."""
    files, wanted = [str(short), str(long)], queries(coavt, stream, [short, long])
    names = [dict(v='video', a='audio')[letter] for letter in columns]
    rows, mean = dict.fromkeys(names, files), unit(wanted.mean(1))
    for category, side in ((f't2{columns}', 'document'), (f'{columns}2t', 'query')):
        found = encode(encoder, rows, category, side)
        np.testing.assert_allclose(found, wanted.reshape(2, -1), atol=1e-6)
    found = encode(encoder, rows, type_='VideoZeroshotClassification')
    np.testing.assert_allclose(found, wanted.reshape(2, -1), atol=1e-6)
    for category, side in (('a2v', 'query'), ('v2a', 'document'), ('va2c', None)):
        found = encode(encoder, rows, category, side)
        np.testing.assert_allclose(found, mean, atol=1e-6)


def test_texts_with_and_without_clips(encoder, coavt, short):
    texts = ['the dog', 'barks']
    wanted = coavt.texts.embed(texts)
    found = encode(encoder, dict(text=texts), 't2va', 'query')
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    rows = dict(text=texts, video=[str(short), None])
    found = encode(encoder, rows, 'vt2t', 'query').reshape(2, -1, wanted.shape[1])
    summed = wanted[0] + queries(coavt, 'V', [short])[0]
    np.testing.assert_allclose(found[0], summed, atol=1e-6)
    np.testing.assert_allclose(
        found[1], np.repeat(wanted[1:], len(found[1]), 0), atol=1e-6
    )


def test_similarity_is_the_models_own(encoder, coavt, short, silent):
    """One frame, one window: the best query's cosine."""
    texts = coavt.texts.embed(['the dog', 'barks', 'the'])
    clips = queries(coavt, 'V', [short, silent])
    wanted = similarity(texts, clips[:, None])
    flat = clips.reshape(2, -1)
    torch.testing.assert_close(encoder.similarity(texts, flat), wanted)
    torch.testing.assert_close(encoder.similarity(flat, torch.tensor(texts)), wanted.T)
    torch.testing.assert_close(encoder.similarity(texts[0], flat), wanted[:1])
    torch.testing.assert_close(
        encoder.similarity(texts, 2 * texts), torch.tensor(texts @ texts.T)
    )


def test_the_space_of_the_encoder(coavt, short, silent):
    encoder = encoders.CoAVTEncoder(coavt, space='encoder')
    assert encoder.mteb_model_meta.modalities == ['audio', 'video']
    found = encode(encoder, dict(video=[str(short), str(silent)]), 'v2a', 'query')
    assert found.shape == (2, encoder.mteb_model_meta.embed_dim)


def test_weights_of_the_encoder_alone(coavt, checkpoint, vocabulary, short, tmp_path):
    """As CAV-MAE's are converted: nothing else is in the file."""
    state = coavt.model.state_dict()
    part = {k: v for k, v in state.items() if k.startswith('av_encoder.')}
    save_weights(part, tmp_path / 'cavmae.pth')
    tiny_apis.coavt_cfg(vocabulary).dump(tmp_path / 'config.py')
    alone, whole = (
        encoders.CoAVTEncoder(path, config=config, space='encoder', device='cpu')
        for path, config in (
            (tmp_path / 'cavmae.pth', tmp_path / 'config.py'),
            (checkpoint, None),
        )
    )
    rows = dict(video=[str(short)], audio=[str(short)])
    found = encode(alone, rows, 'va2c')
    np.testing.assert_allclose(found, encode(whole, rows, 'va2c'), atol=1e-6)
    save_weights(dict(list(part.items())[1:]), tmp_path / 'cavmae.pth')
    with pytest.raises(CheckpointError, match='1 not in the checkpoint'):
        encoders.encoder_alone(tmp_path / 'cavmae.pth', tmp_path / 'config.py')


def test_an_input_that_has_no_vector(coavt, silent, short):
    rows = dict(audio=[str(silent), str(short)])
    with pytest.raises(ClipError, match='sound'):
        encode(encoders.CoAVTEncoder(coavt), rows, 'a2c')
    lenient = encoders.CoAVTEncoder(coavt, on_error='zeros')
    with pytest.warns(UserWarning, match='1 inputs get zeros'):
        found = encode(lenient, rows, 'a2c')
    assert not found[0].any() and found[1].any()


def test_what_mteb_is_told(checkpoint, vocabulary, tmp_path):
    found = encoders.CoAVTEncoder(checkpoint, device='cpu').mteb_model_meta
    assert found.name == 'coavt-mm/coavt' and found.embed_dim == 8
    assert found.max_tokens == 12 and found.revision.endswith('-query')
    assert found.n_parameters > found.n_embedding_parameters > 0
    torch.manual_seed(1)
    other = load_model(checkpoint, device='cpu', show_progress=False)
    torch.nn.init.normal_(next(other.model.parameters()))
    saw = {'VGGSoundAVA2VRetrieval'}
    given = encoders.CoAVTEncoder(other, name='me/mine', training_datasets=saw)
    assert given.mteb_model_meta.revision != found.revision
    assert given.mteb_model_meta.name == 'me/mine'
    assert given.mteb_model_meta.training_datasets == saw
    with pytest.raises(InputError, match="unknown argument 'licence'"):
        encoders.CoAVTEncoder(other, licence='mit')
