"""One clip that can't be read costs one answer."""

import shutil

import numpy as np
import pytest
import tiny_apis
from media_files import write_rows

from coavt_mm.apis import (
    CoAVTInferencer,
    caption,
    classify,
    embed,
    match,
    retrieve,
    visualize,
)
from coavt_mm.batches import stable_key
from coavt_mm.errors import ClipError, InputError

ENTRIES = {
    'embed': lambda clips, **more: embed(clips, **more)['clips'],
    'clips to texts': lambda clips, **more: retrieve(clips, ['dog', 'the'], **more),
    'classify': lambda clips, **more: classify(clips, ['dog', 'cat'], **more),
    'caption': lambda clips, **more: caption(clips, max_new_tokens=3, **more),
    'match': lambda clips, **more: match(clips, ['dog', 'barks'], **more),
}
entries = pytest.mark.parametrize('ask', ENTRIES.values(), ids=ENTRIES)
PARTS = {'windows', 'captions', 'labels', 'texts', 'hits', 'streams'}


@pytest.fixture(scope='module')
def damaged(horrors):
    """Clips of which the first and the last can be read."""
    kinds = ('zero_bytes', 'text', 'noise', 'truncated', 'missing')
    # its first windows can be read, a later one can't
    late = horrors['truncated_index_first']
    bad = [*(str(horrors[kind]) for kind in kinds), str(late), b'', b'no film']
    return [
        horrors['silent'],
        *bad,
        {'audio': (np.full(9, np.nan), 1)},
        horrors['silent'],
    ]


def check(answers, count):
    """The first and the last are answered; the others say why not."""
    assert len(answers) == count
    for answer in answers[1:-1]:
        error = answer['error']
        assert error and '\n' not in error
        assert (answer.get('clip') or answer['query']) in error
        for part in PARTS & answer.keys():
            assert answer[part] == []
    for answer in (answers[0], answers[-1]):
        assert 'error' not in answer
        assert all(answer[part] for part in PARTS & answer.keys())


@pytest.mark.parametrize('batch_size', [1, 3, 8])
@entries
@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_one_bad_clip_costs_one_answer(ask, coavt, damaged, batch_size):
    check(ask(damaged, model=coavt, batch_size=batch_size), len(damaged))


@entries
def test_the_strict_mode_ends_at_the_first(ask, coavt, damaged):
    with pytest.raises(ClipError, match='zero_bytes.mp4: the file is empty'):
        ask(damaged, model=coavt, on_error='raise')
    with pytest.raises(ClipError, match='truncated_index_first'):
        ask(damaged[6], model=coavt)
    (kept,) = ask(damaged[6], model=coavt, on_error='keep')
    assert 'truncated_index_first' in kept['error']
    (kept,) = ask([damaged[6]], model=coavt)  # a list, even of one
    assert 'truncated_index_first' in kept['error']
    with pytest.raises(InputError, match="on_error must be 'raise' or 'keep'"):
        ask(damaged, model=coavt, on_error='skip')


def test_the_first_error_is_said_at_once_in_strict_mode(coavt, short, monkeypatch):
    monkeypatch.setattr(coavt.model, 'extract', None)  # nothing is computed before
    with pytest.raises(ClipError, match='gone.mp4'):
        embed([short, short, 'gone.mp4'], model=coavt, on_error='raise', batch_size=1)


def test_what_is_no_clip_at_all_is_an_error_of_the_call(coavt, short):
    with pytest.raises(InputError, match='clip 1 must be'):
        embed([short, 42], model=coavt, on_error='keep')


def test_texts_find_the_clips_that_can_be_read(coavt, damaged):
    with pytest.warns(UserWarning, match=r'9 of 11 clips are without an answer.*zero_'):
        answers = retrieve(['dog', 'the'], damaged, model=coavt, rerank=1)
    for answer in answers:
        assert [hit['index'] for hit in answer['hits']] == [0, 10]  # equal clips
        assert [error['index'] for error in answer['errors']] == list(range(1, 10))
    with pytest.warns(UserWarning, match='2 of 2'):
        answers = retrieve(['dog', 'the'], damaged[1:3], model=coavt)
    assert [answer['hits'] for answer in answers] == [[], []]
    assert len(answers[0]['errors']) == 2


@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_pictures_of_those_that_can_be_read(coavt, damaged, tmp_path):
    found = visualize(damaged, tmp_path, model=coavt)
    assert [path.name[:3] for path in (found[0], found[-1])] == ['000', '010']
    assert all(isinstance(each['error'], str) for each in found[1:-1])
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ClipError, match='zero_bytes'):
        visualize(damaged, tmp_path, model=coavt, on_error='raise')


@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_a_clip_without_the_classifiers_modality(vocabulary, make_clip, tmp_path):
    path = tmp_path / 'classifier.pth'
    tiny_apis.save(tiny_apis.classifier_cfg(vocabulary, stream='A'), path)
    model = CoAVTInferencer(weights=path, device='cpu', show_progress=False)
    film, song = make_clip(seconds=0.5, sound=False), make_clip(seconds=0.5)
    for batch_size in (1, 8):
        found = classify([film, song, film], model=model, batch_size=batch_size)
        assert ['error' in each for each in found] == [True, False, True]
        assert f'{film}: this model classifies by stream A' in found[0]['error']
        assert found[0]['labels'] == [] and len(found[1]['labels']) == 3
    assert found[1] == classify(song, model=model)[0]
    with pytest.raises(ClipError, match='classifies by stream A'):
        classify(film, model=model)
    assert 'error' in classify([film], model=model)[0]


@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_folders_and_manifests_keep_their_errors(coavt, short, tmp_path):
    shutil.copy(short, tmp_path / 'a.mp4')
    (tmp_path / 'b.mp4').write_bytes(b'no film')
    rows = [{'clip': 'b.mp4'}, {'clip': 'a.mp4'}, {'id': 'x', 'clip': 'gone.mp4'}]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    for given in (tmp_path, str(tmp_path)):
        found = embed(given, model=coavt)['clips']
        assert ['error' in each for each in found] == [False, True]
        with pytest.raises(ClipError, match='b.mp4'):
            embed(given, model=coavt, on_error='raise')
    found = embed(manifest, model=coavt)['clips']
    assert ['error' in each for each in found] == [True, False, True]
    assert found[2]['clip'] == 'x' and 'gone.mp4: No such file' in found[2]['error']


def test_addresses_that_break(coavt, short):
    with pytest.warns(UserWarning, match='1 of 2'):
        found = embed(['memory://gone.mp4', str(short)], model=coavt)['clips']
    assert found[0]['error'].startswith('memory://gone.mp4: can not be read')
    assert found[1]['windows']


@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_mmengines_form(coavt, damaged):
    answer = coavt(damaged, return_datasamples=True)['predictions']
    assert 'error' in answer[1] and 'error' not in answer[0]


@pytest.mark.filterwarnings('ignore:.*without an answer')
def test_nan_is_no_answer(coavt, classifier, short, make_clip, monkeypatch):
    song = make_clip(seconds=0.5, picture=False)
    spectrograms = coavt.model.data_preprocessor._spectrograms

    def broken(clips, *rest):
        made = spectrograms(clips, *rest)
        made['spectrogram'][clips['clip_key'] == stable_key(str(song))] = np.nan
        return made

    for model in (coavt, classifier):
        monkeypatch.setattr(model.model.data_preprocessor, '_spectrograms', broken)
    text = f'{song}: the model gives NaN or inf for this clip'
    for found in (
        embed([short, song], model=coavt)['clips'],
        match([short, song], 'dog', model=coavt),
        caption([short, song], model=coavt, max_new_tokens=2),
        classify([short, song], model=classifier),
    ):
        assert 'error' not in found[0] and found[1]['error'] == text
    (answer,) = retrieve('dog', [song, short], model=coavt)
    assert [hit['index'] for hit in answer['hits']] == [1]
    with pytest.raises(ClipError, match='the model gives NaN'):
        embed(song, model=coavt)
