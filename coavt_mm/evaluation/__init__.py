"""Metrics of the project."""

from .retrieval import RetrievalMetric

__all__ = ['RetrievalMetric']
