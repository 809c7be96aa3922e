"""Data: manifest rows in, packed samples out."""

from . import transforms  # noqa: F401  registers them
from .dataset import AVTDataset
from .samplers import ResumableSampler
from .tokenizer import build_tokenizer

__all__ = ['AVTDataset', 'ResumableSampler', 'build_tokenizer']
