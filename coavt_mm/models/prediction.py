"""What a prediction of CoAVT puts into the samples beside the features of the clips."""

from typing import TYPE_CHECKING

from mmengine.structures import BaseDataElement
from torch import Tensor

from coavt_mm.errors import ConfigError
from coavt_mm.models.generation import check_decoding

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT


def add_texts(
    model: 'CoAVT', inputs: dict[str, Tensor], samples: list[BaseDataElement]
) -> None:
    """Add ``caption_feats`` (C, E) and ``caption_ids`` (C tensors) of each clip.

    Args:
        model: The model; without a contrastive head nothing is added.
        inputs: The preprocessor's output.
        samples: One per clip.
    """
    if model.contrastive_head is None or 'input_ids' not in inputs:
        return
    ids, mask = inputs['input_ids'], inputs['attention_mask']
    feats = model.embed_texts(*model.text_of(inputs))
    for i, sample in enumerate(samples):
        own = (inputs['caption_clip'] == i).nonzero()[:, 0]
        sample.set_data(
            {
                'caption_feats': feats[own],
                'caption_ids': [ids[k][mask[k].bool()] for k in own],
            }
        )


def add_captions(
    model: 'CoAVT',
    tokens: Tensor,
    has_av: Tensor,
    clip_keys: Tensor,
    samples: list[BaseDataElement],
) -> None:
    """Add ``pred_caption`` of the clips that have both modalities.

    Args:
        model: Its ``test_cfg`` says which captions are written.
        tokens: (B, F, N_av, D); the middle frame is described.
        has_av: (B,) bool.
        clip_keys: (B,) int64, see :func:`~.generation.generate`.
        samples: One per clip.
    """
    rows = has_av.nonzero()[:, 0]
    if not len(rows):
        return
    keys = clip_keys[rows].tolist()
    av_tokens = tokens[rows, tokens.shape[1] // 2]
    texts = {
        name: model.generate(av_tokens, keys, **options)
        for name, options in model.test_cfg['caption'].items()
    }
    for k, row in enumerate(rows.tolist()):
        samples[row].set_data(
            {'pred_caption': {name: text[k] for name, text in texts.items()}}
        )


def checked_test_cfg(test_cfg: dict | None) -> dict:
    """Fill in what ``test_cfg`` of CoAVT leaves out.

    Raises:
        ConfigError: A key, or an option of a decoding, is unknown.
    """
    cfg = {'keep_tokens': False, 'caption': {}, **(test_cfg or {})}
    unknown = set(cfg) - {'keep_tokens', 'caption'}
    if unknown:
        raise ConfigError(
            f"CoAVT.test_cfg: unknown {sorted(unknown)}, expected 'keep_tokens', "
            "'caption'"
        )
    cfg['caption'] = {
        name: check_decoding(name, options)
        for name, options in (cfg['caption'] or {}).items()
    }
    return cfg
