"""Transforms from a manifest row to a packed sample."""

from .audio import LoadAudio
from .packing import PackAVTInputs
from .text import AllCaptions, PickCaption, TokenizeText
from .video import IfVisual, LoadFrames

__all__ = [
    'AllCaptions',
    'IfVisual',
    'LoadAudio',
    'LoadFrames',
    'PackAVTInputs',
    'PickCaption',
    'TokenizeText',
]
