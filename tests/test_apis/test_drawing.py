"""Drawings: the window, the query and the map that are drawn."""

from pathlib import Path

import numpy as np
import pytest
import tiny_apis
import torch

from coavt_mm import visualization
from coavt_mm.apis import CoAVTInferencer, visualize
from coavt_mm.models.similarity import similarity


def drawn(monkeypatch, coavt, tmp_path, clip, texts):
    """The page that a call draws."""
    pages = []
    whole = visualization.clip_page_figure
    monkeypatch.setattr(
        visualization,
        'clip_page_figure',
        lambda page: pages.append(page) or whole(page),
    )
    (path,) = visualize(clip, tmp_path, texts, model=coavt)
    assert path.is_file()
    return pages[0]


def test_the_best_window_for_the_texts(monkeypatch, coavt, tmp_path, make_clip):
    clip, texts = make_clip(seconds=2.0), ['the dog', 'barks']
    page = drawn(monkeypatch, coavt, tmp_path, clip, texts)
    windows = coavt(clip)['predictions'][0]['windows']
    feats = coavt.texts.embed(texts)
    scores = np.stack([similarity(feats, w['embeddings']['AV']) for w in windows])
    best = int(scores.max(1).argmax())
    assert page.start == windows[best]['start']
    assert [text for text, _ in page.texts] == [
        texts[i] for i in np.argsort(-scores[best])
    ]
    assert page.caption
    assert page.frames.shape == (1, 32, 32, 3) and page.spectrogram.shape == (48, 32)


def test_the_map_is_that_of_the_query_that_fits(monkeypatch, coavt, tmp_path, short):
    page = drawn(monkeypatch, coavt, tmp_path, short, 'the dog')
    found = coavt(short, keep_tokens=True)['predictions'][0]['windows'][0]
    query = (found['embeddings']['AV'][0] @ coavt.texts.embed(['the dog'])[0]).argmax()
    with torch.no_grad():
        tokens = torch.from_numpy(found['tokens']['AV'])
        maps = coavt.model.query_encoder.attention_maps(tokens)  # (1, layers, Q, 10)
    row = maps.mean(1)[0, query].numpy()
    np.testing.assert_allclose(page.audio_attention, row[:6].reshape(2, 3), atol=1e-6)
    np.testing.assert_allclose(
        page.visual_attention, row[6:].reshape(1, 2, 2), atol=1e-6
    )


def test_one_modality_has_one_map(monkeypatch, coavt, tmp_path, make_clip):
    silent_film = make_clip(seconds=0.5, sound=False)
    page = drawn(monkeypatch, coavt, tmp_path, silent_film, None)
    assert page.audio_attention is None and page.spectrogram is None
    assert np.isclose(page.visual_attention.sum(), 1, atol=1e-5)
    assert page.texts == []
    assert page.name == Path(silent_film).name


@pytest.mark.parametrize(('shift', 'frames'), [(15.0, 32), (20.0, 16)])
def test_the_time_axis_is_that_of_the_models_hop(
    monkeypatch, tmp_path, vocabulary, short, shift, frames
):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    cfg.model.av_encoder.spec_size = (frames, 32)
    cfg.model.data_preprocessor.spec_frames = frames
    cfg.model.data_preprocessor.logmel.frame_shift = shift
    weights = tiny_apis.save(cfg, tmp_path / 'other.pth')
    other = CoAVTInferencer(weights=weights, device='cpu', show_progress=False)
    page = drawn(monkeypatch, other, tmp_path, short, None)
    assert len(page.spectrogram) == frames
    for axes in (visualization.clip_page_figure(page).axes[i] for i in (1, 3)):
        begin, end = axes.get_xlim()
        assert end - begin == pytest.approx(frames * shift / 1000)
