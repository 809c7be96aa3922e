"""Weights of the ancestors -> weights of this package, and our own in and out."""

from coavt_mm.checkpoints.bert import convert_bert
from coavt_mm.checkpoints.blip2 import convert_blip2
from coavt_mm.checkpoints.cavmae import convert_cavmae
from coavt_mm.checkpoints.conversion import Converted, Report, read_state_dict
from coavt_mm.checkpoints.old_log import convert_log
from coavt_mm.checkpoints.own import (
    add_config,
    combine,
    export_safetensors,
    fitting_config,
    load_weights,
    save_weights,
)
from coavt_mm.checkpoints.positions import resize_positions
from coavt_mm.checkpoints.stored_config import (
    carried_config,
    config_to_json,
    inference_config,
    read_stored_config,
)
from coavt_mm.checkpoints.stored_model import check_model
from coavt_mm.checkpoints.vit import convert_vit

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
    'convert_log',
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
