"""Metrics of the project."""

from .attributes import AttributeAccuracy
from .av_retrieval import AVRetrievalMetric
from .captioning import CaptionMetric
from .retrieval import RetrievalMetric

__all__ = [
    'AVRetrievalMetric',
    'AttributeAccuracy',
    'CaptionMetric',
    'RetrievalMetric',
]
