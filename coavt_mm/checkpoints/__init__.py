"""Weights of the ancestors -> weights of this package, and our own in and out."""

from .bert import convert_bert
from .blip2 import convert_blip2
from .cavmae import convert_cavmae
from .conversion import Converted, Report, read_state_dict
from .own import (
    add_config,
    combine,
    export_safetensors,
    fitting_config,
    load_weights,
    save_weights,
)
from .positions import resize_positions
from .stored_config import (
    carried_config,
    config_to_json,
    inference_config,
    read_stored_config,
)
from .stored_model import check_model
from .vit import convert_vit

__all__ = [
    'Converted',
    'Report',
    'add_config',
    'carried_config',
    'check_model',
    'combine',
    'config_to_json',
    'convert_bert',
    'convert_blip2',
    'convert_cavmae',
    'convert_vit',
    'export_safetensors',
    'fitting_config',
    'inference_config',
    'load_weights',
    'read_state_dict',
    'read_stored_config',
    'resize_positions',
    'save_weights',
]
