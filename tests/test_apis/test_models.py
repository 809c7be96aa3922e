"""Methods of a model, functions beside them, and which model a function asks."""

import gc
import inspect
from weakref import WeakSet

import numpy as np
import pytest
import tiny_apis

from coavt_mm import apis
from coavt_mm.apis import CoAVTInferencer, functions, load_model
from coavt_mm.errors import ConfigError

TASKS = ('embed', 'retrieve', 'classify', 'caption', 'match', 'visualize')


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(functions, '_loaded', WeakSet())
    monkeypatch.setattr(functions, '_last', [])


def text_of(call, **options):
    return call(text='dog', **options)['texts'][0]['embedding']


def test_a_function_gives_what_the_method_gives(coavt, short, tmp_path):
    for name, more in (
        ('classify', (['dog', 'cat'],)), ('caption', ()), ('match', ('dog',)),
        ('retrieve', (['dog', 'the'],)), ('visualize', (tmp_path, 'dog')),
    ):  # fmt: skip
        own = getattr(coavt, name)(short, *more)
        assert getattr(apis, name)(short, *more, model=coavt) == own
    own, of_function = coavt.embed(short), apis.embed(short, model=coavt)
    for stream, feats in own['clips'][0]['windows'][0]['embeddings'].items():
        found = of_function['clips'][0]['windows'][0]['embeddings'][stream]
        np.testing.assert_array_equal(found, feats)


@pytest.mark.parametrize('name', TASKS)
def test_functions_and_methods_take_the_same(name):
    function = inspect.signature(getattr(apis, name)).parameters
    method = inspect.signature(getattr(CoAVTInferencer, name)).parameters
    assert set(function) - {'model'} == set(method) - {'inferencer'}
    assert function['model'].default is None
    assert getattr(apis, name).__doc__ == getattr(CoAVTInferencer, name).__doc__


def test_one_loaded_model_need_not_be_named(nothing_loaded, checkpoint, coavt):
    with pytest.raises(ConfigError, match='no model is loaded'):
        text_of(apis.embed)
    load_model(checkpoint, device='cpu', show_progress=False)  # nobody keeps it
    np.testing.assert_array_equal(text_of(apis.embed), text_of(coavt.embed))
    load_model(checkpoint, device='cpu', show_progress=False)  # takes its place
    np.testing.assert_array_equal(text_of(apis.embed), text_of(coavt.embed))


def test_of_two_models_one_is_named(nothing_loaded, checkpoint, vocabulary, tmp_path):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    cfg.model.text_encoder.init = 'wide'
    other = tiny_apis.save(cfg, tmp_path / 'other.pth')
    first = load_model(checkpoint, device='cpu', show_progress=False)
    second = load_model(other, device='cpu', show_progress=False)
    with pytest.raises(ConfigError, match=r'2 models are loaded: .*model=model') as e:
        text_of(apis.embed)
    assert '\n' not in str(e.value)
    assert np.abs(text_of(first.embed) - text_of(second.embed)).max() > 1e-3
    for model in (first, second):
        asked = text_of(apis.embed, model=model)
        np.testing.assert_array_equal(asked, text_of(model.embed))
    kept = text_of(second.embed)
    cycle = [first]
    cycle.append(cycle)
    del e, first, model, cycle
    np.testing.assert_array_equal(text_of(apis.embed), kept)
    gc.collect()


def test_the_old_name_of_visualize(coavt, short, tmp_path):
    with pytest.warns(FutureWarning, match=r'now called visualize\(\)'):
        (path,) = apis.picture(short, tmp_path, 'dog', model=coavt)
    assert path.is_file()


def test_answers_hold_nothing_of_bars_and_drawings(coavt, classifier, short, tmp_path):
    for model in (coavt, classifier):
        answer = model(short, view=True, out_dir=str(tmp_path), texts=['dog'])
        (clip,) = answer['predictions']
        (window,) = clip['windows']
        assert set(clip) == {'clip', 'streams', 'windows'}
        part = 'embeddings' if model is coavt else 'scores'
        assert set(window) == {'start', 'end', 'streams', part}
        assert all(path.is_file() for path in answer['visualization'])
