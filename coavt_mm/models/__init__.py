"""Models: encoders, query neck, heads and the whole of CoAVT."""

from .av_encoder import JointAVEncoder
from .coavt import CoAVT
from .heads import ContrastiveHead, LanguageModelingHead, MatchingHead
from .query_encoder import QueryEncoder, QueryState
from .text_encoder import TextEncoder

__all__ = [
    'CoAVT',
    'ContrastiveHead',
    'JointAVEncoder',
    'LanguageModelingHead',
    'MatchingHead',
    'QueryEncoder',
    'QueryState',
    'TextEncoder',
]
