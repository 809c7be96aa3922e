"""Plots that evaluations and tools leave for people."""

from .contact_sheet import Hit, contact_sheet_figure, middle_frame
from .plots import (
    read_scalars,
    recall_figure,
    save_figure,
    similarity_figure,
    training_figure,
)

__all__ = [
    'Hit',
    'contact_sheet_figure',
    'middle_frame',
    'read_scalars',
    'recall_figure',
    'save_figure',
    'similarity_figure',
    'training_figure',
]
