"""Metrics of the project."""

from .attributes import AttributeAccuracy
from .captioning import CaptionMetric
from .retrieval import RetrievalMetric

__all__ = ['AttributeAccuracy', 'CaptionMetric', 'RetrievalMetric']
