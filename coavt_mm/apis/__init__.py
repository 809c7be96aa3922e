"""A trained model on one's own clips.

``model = load_model('checkpoint.pth')``, then ``model.caption(clip)`` and its other
methods; the functions ask the model that is loaded, or the one given as ``model=``.
"""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.apis.functions import (
        caption,
        check_sound,
        classify,
        embed,
        load_model,
        match,
        picture,
        retrieve,
        visualize,
    )
    from coavt_mm.apis.inferencer import CoAVTInferencer
    from coavt_mm.apis.listing import read_clips

__all__ = [
    'CoAVTInferencer',
    'caption',
    'check_sound',
    'classify',
    'embed',
    'load_model',
    'match',
    'picture',
    'read_clips',
    'retrieve',
    'visualize',
]

_HOMES = dict.fromkeys(__all__, 'functions')
_HOMES.update(CoAVTInferencer='inferencer', read_clips='listing')
__getattr__, __dir__ = lazily(__name__, _HOMES)
