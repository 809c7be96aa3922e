"""Metrics of the project."""

from .attributes import AttributeAccuracy
from .captioning import CaptionMetric
from .classification import ClassificationMetric
from .retrieval import RetrievalMetric
from .zeroshot import ZeroShotMetric

__all__ = [
    'AttributeAccuracy',
    'CaptionMetric',
    'ClassificationMetric',
    'RetrievalMetric',
    'ZeroShotMetric',
]
