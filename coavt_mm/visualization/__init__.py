"""Plots that evaluations and tools leave for people."""

from .caption_table import CaptionRow, caption_table_figure
from .classes import class_bars_figure, confusion_figure, label_sets_figure
from .clip_page import ClipPage, clip_page_figure
from .contact_sheet import Hit, contact_sheet_figure, middle_frame
from .plots import (
    read_scalars,
    recall_figure,
    save_figure,
    similarity_figure,
    training_figure,
)

__all__ = [
    'CaptionRow',
    'ClipPage',
    'Hit',
    'caption_table_figure',
    'class_bars_figure',
    'confusion_figure',
    'clip_page_figure',
    'contact_sheet_figure',
    'label_sets_figure',
    'middle_frame',
    'read_scalars',
    'recall_figure',
    'save_figure',
    'similarity_figure',
    'training_figure',
]
