"""Models: encoders, query neck, heads and the whole of CoAVT."""

from coavt_mm.models.av_encoder import (
    JointAVBackbone,
    JointAVEncoder,
    OnePassAVEncoder,
)
from coavt_mm.models.classifier import ClassificationHead, CoAVTClassifier
from coavt_mm.models.coavt import CoAVT
from coavt_mm.models.distillation import TeacherHead
from coavt_mm.models.heads import AVContrastiveHead, ContrastiveHead
from coavt_mm.models.language import LanguageModelingHead
from coavt_mm.models.logmel import AudioFrontEnd, LogMel
from coavt_mm.models.losses import LossHead, LossInputs
from coavt_mm.models.matching import MatchingHead
from coavt_mm.models.preprocessor import AVTDataPreprocessor
from coavt_mm.models.query_encoder import QueryEncoder, QueryState
from coavt_mm.models.sigmoid import SigmoidHead
from coavt_mm.models.text_encoder import TextEncoder

__all__ = [
    'AVContrastiveHead',
    'AVTDataPreprocessor',
    'AudioFrontEnd',
    'ClassificationHead',
    'CoAVT',
    'CoAVTClassifier',
    'ContrastiveHead',
    'JointAVBackbone',
    'JointAVEncoder',
    'LanguageModelingHead',
    'LogMel',
    'LossHead',
    'LossInputs',
    'MatchingHead',
    'OnePassAVEncoder',
    'QueryEncoder',
    'QueryState',
    'SigmoidHead',
    'TeacherHead',
    'TextEncoder',
]
