"""CoAVT-MM: audio-visual-text pre-training as an MMEngine plugin."""

from . import registry  # noqa: F401  makes the scope 'coavt_mm' known to mmengine

__version__ = '0.1.0'
