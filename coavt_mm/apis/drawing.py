"""Clips drawn as the model sees them.

Letters: F frames, Q queries, N tokens, E projected width, P texts.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from coavt_mm.apis.answering import Window
from coavt_mm.errors import shown
from coavt_mm.models.similarity import similarity
from coavt_mm.streams import MODALITIES

if TYPE_CHECKING:
    from coavt_mm.visualization import ClipPage

TOP = 6  # texts shown
LONGEST_NAME = 200  # bytes; file systems take 255 with number and suffix


def input_drawing(
    model: nn.Module, packed: dict, batch: dict[str, Tensor], row: int
) -> dict:
    """Return what a page shows of a window's input.

    Args:
        model: Its front end knows the scale of the spectrogram.
        packed: The batch before the preprocessor.
        batch: The batch behind it.
        row: The window.

    Returns:
        ``frames`` (F, H, W, 3) uint8, ``frame_times`` (s), ``spectrogram`` (L, M)
        log-mel and its ``hop`` (s); None where the modality is missing.
    """
    frames, sample = packed['inputs']['frames'][row], packed['data_samples'][row]
    preprocessor: Any = model.data_preprocessor
    sound, front_end = None, preprocessor.front_end
    if batch['has_audio'][row]:
        sound = front_end.invert(batch['spectrogram'][row])
    return dict(
        frames=None if frames is None else frames.permute(0, 2, 3, 1).numpy(),
        frame_times=sample.get('frame_times', []),
        spectrogram=None if sound is None else sound.cpu().numpy(),
        hop=front_end.hop,
    )


def save_page(
    model: nn.Module,
    windows: Sequence[Window],
    out_dir: str | Path,
    texts: Sequence[str] | None = None,
    feats: np.ndarray | None = None,
) -> Path:
    """Draw a clip's best window for the texts; without texts its first.

    Args:
        model: A CoAVT, or a classifier.
        windows: All of the clip, with ``drawing``.
        out_dir: Folder for the PNG.
        texts: P texts, or a classifier's classes; the best are shown.
        feats: (P, E) of a CoAVT's texts.

    Returns:
        A PNG, named by the clip's number and name.
    """
    from coavt_mm.visualization import clip_page_figure, save_figure

    page = _page(model, windows, texts, feats)
    stem = re.sub(r'\W+', '_', Path(windows[0].clip).stem).strip('_')
    stem = stem.encode()[:LONGEST_NAME].decode(errors='ignore')
    path = Path(out_dir) / f'{windows[0].index:03d}_{stem}.png'
    return save_figure(clip_page_figure(page), path)


def _page(
    model: nn.Module,
    windows: Sequence[Window],
    texts: Sequence[str] | None,
    feats: np.ndarray | None,
) -> 'ClipPage':
    from coavt_mm.visualization import ClipPage

    window, names = windows[0], texts or ()
    scores: Any = window.answer.get('scores')
    of_classes = scores is not None
    if feats is not None:
        every = [
            similarity(feats, w.answer['embeddings'][w.stream]).numpy() for w in windows
        ]
        best = int(np.argmax([scores.max() for scores in every]))
        window, scores = windows[best], every[best]
    drawing = dict(window.drawing)
    attention = drawing.pop('attention', None)
    page = ClipPage(
        shown(Path(window.clip).name),
        start=window.answer['start'],
        caption=window.answer.get('caption', ''),
        score_name='probability' if of_classes else 'similarity',
        **drawing,
    )
    if scores is not None:
        order = np.argsort(-scores, kind='stable')[:TOP]
        page.texts = [(names[i], float(scores[i])) for i in order]
    if attention is not None:
        text = feats[scores.argmax()] if feats is not None else None
        _add_attention(page, model, window, attention, text)
    return page


def _add_attention(
    page: 'ClipPage',
    model: Any,
    window: Window,
    maps: np.ndarray,
    text: np.ndarray | None,
) -> None:
    """The map (of F, Q, N) of the query that fits the text best, else the mean map."""
    if text is None:
        maps = maps.mean(1)
    else:
        best = (window.answer['embeddings'][window.stream] @ text).argmax(1)  # (F,)
        maps = maps[np.arange(len(maps)), best]
    encoder, modalities = model.av_encoder, MODALITIES[window.stream]
    rows, columns = encoder.audio_embed.grid
    heard = rows * columns if 'audio' in modalities else 0
    if heard:
        page.audio_attention = maps[:, :heard].mean(0).reshape(rows, columns)
    if 'visual' in modalities:
        page.visual_attention = maps[:, heard:].reshape(-1, *encoder.visual_embed.grid)
