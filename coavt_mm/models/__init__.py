"""Models: encoders, query neck, heads and the whole of CoAVT."""

from .av_encoder import JointAVEncoder
from .classifier import ClassificationHead, CoAVTClassifier
from .coavt import CoAVT
from .heads import (
    AVContrastiveHead,
    ContrastiveHead,
    LanguageModelingHead,
    MatchingHead,
)
from .logmel import LogMel
from .preprocessor import AVTDataPreprocessor
from .query_encoder import QueryEncoder, QueryState
from .text_encoder import TextEncoder

__all__ = [
    'AVContrastiveHead',
    'AVTDataPreprocessor',
    'ClassificationHead',
    'CoAVT',
    'CoAVTClassifier',
    'ContrastiveHead',
    'JointAVEncoder',
    'LanguageModelingHead',
    'LogMel',
    'MatchingHead',
    'QueryEncoder',
    'QueryState',
    'TextEncoder',
]
