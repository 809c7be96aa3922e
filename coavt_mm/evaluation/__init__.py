"""Metrics of the project."""

from .attributes import AttributeAccuracy
from .av_retrieval import AVRetrievalMetric
from .captioning import CaptionMetric
from .classification import ClassificationMetric
from .retrieval import RetrievalMetric
from .zeroshot import ZeroShotMetric

__all__ = [
    'AVRetrievalMetric',
    'AttributeAccuracy',
    'CaptionMetric',
    'ClassificationMetric',
    'RetrievalMetric',
    'ZeroShotMetric',
]
