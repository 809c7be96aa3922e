"""Batches as the model gets them: after the transforms and the preprocessor."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from coavt_mm.errors import ConfigError
from coavt_mm.registry import MODELS
from coavt_mm.visualization.input_page import input_page_figure

PHASES = ('train', 'val', 'test')


def browse(cfg: Config, phase: str, count: int) -> Iterator[tuple[str, Figure]]:
    """Draw the first clips that a run's model sees.

    Args:
        cfg: The config.
        phase: Whose loader: 'train', which also augments, 'val' or 'test'.
        count: How many clips.

    Yields:
        A clip's name and its page.

    Raises:
        ConfigError: If the config has no such loader.
    """
    init_default_scope(cfg.get('default_scope', 'coavt_mm'))
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    torch.manual_seed(seed)
    preprocessor: Any = MODELS.build(cfg.model.data_preprocessor)
    loader: Any = _loader(cfg, phase, seed)
    classes = getattr(loader.dataset, 'metainfo', {}).get('classes') or ()
    left, batches = count, -(-len(loader.dataset) // loader.batch_size)
    for packed in islice(loader, batches):  # a sampler's stream may have no end
        training = phase == 'train'
        data = dict(preprocessor(packed, training), training=training)
        rows = len(data['data_samples'])
        for row in range(min(left, rows)):
            page = _page(cfg, preprocessor, data, row, classes)
            yield data['data_samples'][row].sample_id, page
        left -= rows
        if left <= 0:
            return


def _loader(cfg: Config, phase: str, seed: int) -> DataLoader:
    loader = cfg.get(f'{phase}_dataloader')
    if not loader:
        raise ConfigError(f'the config has no {phase}_dataloader')
    loader = {
        key: value
        for key, value in loader.items()
        if key not in ('persistent_workers', 'prefetch_factor', 'pin_memory')
    }
    loader['num_workers'] = 0
    return Runner.build_dataloader(Config(loader)._cfg_dict, seed=seed)


def _page(
    cfg: Config, preprocessor: Any, data: dict, row: int, classes: Sequence[str]
) -> Figure:
    inputs, sample = data['inputs'], data['data_samples'][row]
    frames = sound = None
    if inputs['has_visual'][row]:
        frames = (
            inputs['frames'][row] * preprocessor.frame_std + preprocessor.frame_mean
        )
        frames = frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    if inputs['has_audio'][row]:
        sound = inputs['spectrogram'][row].cpu().numpy()
    notes = [*_texts(inputs, sample, row, classes), *_mix(data, row)]
    if data['training']:
        augment = {k: v for k, v in preprocessor.augment.items() if 'mixup' not in k}
        notes += _masks(cfg, augment)
    return input_page_figure(
        sample.sample_id,
        frames,
        sample.get('frame_times', ()),
        sound,
        preprocessor.logmel.hop / preprocessor.logmel.sample_rate,
        notes,
    )


def _texts(
    inputs: dict[str, Tensor], sample: BaseDataElement, row: int, classes: Sequence[str]
) -> Iterator[str]:
    """Labels; captions with their streams and the tokens that are left of them."""
    if 'gt_label' in sample:
        names = [classes[i] if classes else str(i) for i in sample.gt_label.tolist()]
        yield f'labels: {", ".join(names)}'
    if 'caption_clip' not in inputs:
        return
    lengths = inputs['attention_mask'].sum(1)[inputs['caption_clip'] == row].tolist()
    for text, stream, tokens in zip(
        sample.texts, sample.text_streams, lengths, strict=True
    ):
        yield f'caption ({stream}, {tokens} tokens): {text}'


def _masks(cfg: Config, augment: dict) -> Iterator[str]:
    """What training hides or disturbs: on the page already, or inside the encoder."""
    used = {name: value for name, value in augment.items() if value}
    if used:
        listed = ', '.join(f'{name} {value:g}' for name, value in used.items())
        yield f'spectrogram, largest values: {listed}'
    encoder = cfg.model.get('av_encoder') or cfg.model.get('backbone') or {}
    audio, visual = encoder.get('mask_ratio') or (0, 0)
    if audio or visual:
        yield (
            f'the encoder drops {audio:.0%} of the audio tokens and {visual:.0%} of '
            f'the visual ones, at random ({encoder.get("mask_mode", "random")})'
        )


def _mix(data: dict, row: int) -> Iterator[str]:
    """With which clip mixup mixed it."""
    if 'mix_partner' not in data['inputs']:
        return
    share = float(data['inputs']['mix_share'][row])
    partner = data['data_samples'][int(data['inputs']['mix_partner'][row])]
    if partner is not data['data_samples'][row]:
        yield f'mixed: {share:.2f} of it, {1 - share:.2f} of {partner.sample_id}'
