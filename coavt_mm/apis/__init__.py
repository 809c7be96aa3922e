"""A trained model on one's own clips.

``load_model('checkpoint.pth')``, then the functions; or ``CoAVTInferencer`` itself.
"""

from coavt_mm.apis.functions import caption, classify, embed, match, picture
from coavt_mm.apis.inferencer import CoAVTInferencer
from coavt_mm.apis.listing import read_clips
from coavt_mm.apis.retrieval import retrieve
from coavt_mm.apis.session import load_model

__all__ = [
    'CoAVTInferencer',
    'caption',
    'classify',
    'embed',
    'load_model',
    'match',
    'picture',
    'read_clips',
    'retrieve',
]
