"""Transforms from a manifest row to a packed sample."""

from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.old_names import (  # noqa: F401  registers them
    LoadSampledFrames,
    LoadShardAudio,
    LoadShardFrames,
)
from coavt_mm.datasets.transforms.packing import PackAVTInputs
from coavt_mm.datasets.transforms.resize import JPEG, CenterCrop, Resize
from coavt_mm.datasets.transforms.text import AllCaptions, PickCaption, TokenizeText
from coavt_mm.datasets.transforms.video import IfVisual, LoadFrames

__all__ = [
    'JPEG',
    'AllCaptions',
    'CenterCrop',
    'IfVisual',
    'LoadAudio',
    'LoadFrames',
    'PackAVTInputs',
    'PickCaption',
    'Resize',
    'TokenizeText',
]
