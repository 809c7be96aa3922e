"""A trained model on one's own clips.

``load_model('checkpoint.pth')``, then the functions; or ``CoAVTInferencer`` itself.
"""

from .functions import caption, classify, embed, match, picture
from .inferencer import CoAVTInferencer
from .listing import read_clips
from .retrieval import retrieve
from .session import load_model

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
