"""Metrics of the project."""

from .captioning import AttributeAccuracy
from .retrieval import RetrievalMetric

__all__ = ['AttributeAccuracy', 'RetrievalMetric']
