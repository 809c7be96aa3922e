"""Plots that evaluations and tools leave for people."""

from coavt_mm.visualization.caption_table import CaptionRow, caption_table_figure
from coavt_mm.visualization.choosing import best_and_worst, over_all_ranks
from coavt_mm.visualization.classes import (
    class_bars_figure,
    confusion_figure,
    label_sets_figure,
)
from coavt_mm.visualization.clip_page import ClipPage, clip_page_figure
from coavt_mm.visualization.contact_sheet import Hit, contact_sheet_figure
from coavt_mm.visualization.plots import (
    DIRECTION_TITLES,
    SPACE_STYLE,
    recall_figure,
    save_figure,
    similarity_figure,
)
from coavt_mm.visualization.report_page import (
    Answer,
    ClipCard,
    Example,
    Found,
    Report,
    report_page,
)
from coavt_mm.visualization.training import Stage, training_figure

__all__ = [
    'DIRECTION_TITLES',
    'SPACE_STYLE',
    'Answer',
    'CaptionRow',
    'ClipCard',
    'ClipPage',
    'Example',
    'Found',
    'Hit',
    'Report',
    'Stage',
    'best_and_worst',
    'caption_table_figure',
    'class_bars_figure',
    'clip_page_figure',
    'confusion_figure',
    'contact_sheet_figure',
    'label_sets_figure',
    'over_all_ranks',
    'recall_figure',
    'report_page',
    'save_figure',
    'similarity_figure',
    'training_figure',
]
