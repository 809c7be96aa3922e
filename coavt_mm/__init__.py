"""CoAVT-MM: audio-visual-text pre-training as an MMEngine plugin."""

from coavt_mm import registry  # noqa: F401  makes the scope 'coavt_mm' known to mmengine
from coavt_mm.compat import watch_openmmlab_models

__version__ = '0.1.0'

watch_openmmlab_models()
