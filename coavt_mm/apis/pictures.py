"""Pictures of clips as the model sees them.

Letters: F frames, Q queries, N tokens, E projected width.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from coavt_mm.apis.inputs import as_texts
from coavt_mm.errors import shown
from coavt_mm.models import CoAVT
from coavt_mm.streams import MODALITIES
from coavt_mm.visualization import ClipPage, clip_page_figure, save_figure

if TYPE_CHECKING:
    from coavt_mm.apis.inferencer import CoAVTInferencer

TOP = 6  # texts shown
LONGEST_NAME = 200  # bytes; file systems take 255 with number and suffix


def clip_view(
    model: nn.Module, packed: dict, batch: dict[str, Tensor], row: int
) -> dict:
    """What a picture of a window needs beside the model's answer.

    Args:
        model (nn.Module): Its preprocessor knows the scale of the spectrogram.
        packed (dict): The batch before the preprocessor.
        batch (dict[str, Tensor]): The batch behind it.
        row (int): The window.

    Returns:
        dict: ``frames`` (F, H, W, 3) uint8, ``frame_times`` (s) and ``spectrogram``
        (L, M) log-mel; None where the modality is missing.
    """
    frames, sample = packed['inputs']['frames'][row], packed['data_samples'][row]
    sound = None
    if batch['has_audio'][row]:
        scale = model.data_preprocessor
        sound = batch['spectrogram'][row] * scale.spec_scale + scale.spec_mean
    return dict(
        frames=None if frames is None else frames.permute(0, 2, 3, 1).numpy(),
        frame_times=sample.get('frame_times', []),
        spectrogram=None if sound is None else sound.cpu().numpy(),
    )


def save_picture(
    inferencer: 'CoAVTInferencer',
    windows: list[dict],
    out_dir: str | Path,
    texts: Sequence[str] | None = None,
) -> Path:
    """Draw a clip's best window for the texts; without texts its first.

    Args:
        inferencer (CoAVTInferencer): Encodes the texts.
        windows (list[dict]): All of the clip, with ``view``.
        out_dir (str | Path): Folder for the picture.
        texts (Sequence[str], optional): Compared with the clip; the best are shown.

    Returns:
        Path: A PNG, named by the clip's number and name.
    """
    feats = None
    if texts is not None and isinstance(inferencer.model, CoAVT):
        feats = inferencer.texts.embed(as_texts(texts, 'texts'))
    page = _page(inferencer, windows, texts, feats)
    stem = re.sub(r'\W+', '_', Path(windows[0]['clip']).stem).strip('_')
    stem = stem.encode()[:LONGEST_NAME].decode(errors='ignore')
    path = Path(out_dir) / f'{windows[0]["index"]:03d}_{stem}.png'
    return save_figure(clip_page_figure(page), path)


def _page(
    inferencer: 'CoAVTInferencer',
    windows: list[dict],
    texts: Sequence[str] | None,
    feats: np.ndarray | None,
) -> ClipPage:
    window, scores = windows[0], None
    if feats is not None:
        every = [stream_similarity(w['embeddings'], feats) for w in windows]
        best = int(np.argmax([scores.max() for scores in every]))
        window, scores = windows[best], every[best]
    elif 'scores' in window:
        texts, scores = inferencer.class_names(), window['scores']
    page = ClipPage(
        shown(window['clip']),
        window['start'],
        caption=window.get('caption', ''),
        score_name='probability' if 'scores' in window else 'similarity',
        **{k: v for k, v in window['view'].items() if k != 'attention'},
    )
    if scores is not None:
        order = np.argsort(-scores, kind='stable')[:TOP]
        page.texts = [(texts[i], float(scores[i])) for i in order]
    if 'attention' in window['view']:
        about = feats[scores.argmax()] if feats is not None else None
        _add_attention(page, inferencer.model, window, about)
    return page


def stream_similarity(embeddings: dict[str, np.ndarray], texts: np.ndarray):
    """Mean over frames of the best query's cosine, on the fullest stream there is.

    Args:
        embeddings (dict[str, np.ndarray]): Stream -> (F, Q, E), fullest first.
        texts (np.ndarray): (P, E).

    Returns:
        np.ndarray: (P,).
    """
    return (next(iter(embeddings.values())) @ texts.T).max(1).mean(0)


def _add_attention(
    page: ClipPage, model: CoAVT, window: dict, text: np.ndarray | None
) -> None:
    """The map of the query that fits the text best, else the mean over the queries."""
    maps, stream = window['view']['attention'], window['streams'][0]  # (F, Q, N)
    if text is None:
        maps = maps.mean(1)
    else:
        best = (window['embeddings'][stream] @ text).argmax(1)  # (F,)
        maps = maps[np.arange(len(maps)), best]
    encoder = model.av_encoder
    rows, columns = encoder.audio_embed.grid
    heard = rows * columns if 'audio' in MODALITIES[stream] else 0
    if heard:
        page.audio_attention = maps[:, :heard].mean(0).reshape(rows, columns)
    if 'visual' in MODALITIES[stream]:
        page.visual_attention = maps[:, heard:].reshape(-1, *encoder.visual_embed.grid)
