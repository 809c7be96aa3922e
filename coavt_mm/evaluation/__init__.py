"""Metrics of the project."""

from coavt_mm.evaluation.av_retrieval import AVRetrievalMetric
from coavt_mm.evaluation.captioning import CaptionMetric
from coavt_mm.evaluation.classification import ClassificationMetric
from coavt_mm.evaluation.moments import MomentMetric
from coavt_mm.evaluation.retrieval import RetrievalMetric
from coavt_mm.evaluation.zeroshot import ZeroShotMetric

__all__ = [
    'AVRetrievalMetric',
    'CaptionMetric',
    'ClassificationMetric',
    'MomentMetric',
    'RetrievalMetric',
    'ZeroShotMetric',
]
