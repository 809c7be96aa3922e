"""Transforms from a manifest row to a packed sample."""

from .audio import LoadAudio
from .mmaction import LoadLogMel, LoadSampledFrames
from .packing import PackAVTInputs
from .resize import JPEG, CenterCrop, Resize
from .shards import LoadShardAudio, LoadShardFrames
from .text import AllCaptions, PickCaption, TokenizeText
from .video import IfVisual, LoadFrames

__all__ = [
    'JPEG',
    'AllCaptions',
    'CenterCrop',
    'IfVisual',
    'LoadAudio',
    'LoadFrames',
    'LoadLogMel',
    'LoadSampledFrames',
    'LoadShardAudio',
    'LoadShardFrames',
    'PackAVTInputs',
    'PickCaption',
    'Resize',
    'TokenizeText',
]
