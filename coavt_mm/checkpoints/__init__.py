"""Weights of the ancestors -> weights of this package, and our own in and out."""

from .bert import convert_bert
from .blip2 import convert_blip2
from .cavmae import convert_cavmae
from .conversion import Converted, Report
from .own import combine, export_safetensors, load_weights, save_weights
from .positions import resize_positions
from .vit import convert_vit

__all__ = [
    'Converted',
    'Report',
    'combine',
    'convert_bert',
    'convert_blip2',
    'convert_cavmae',
    'convert_vit',
    'export_safetensors',
    'load_weights',
    'resize_positions',
    'save_weights',
]
