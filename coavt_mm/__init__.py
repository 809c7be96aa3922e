"""CoAVT-MM: audio-visual-text pre-training as an MMEngine plugin.

Importing it imports neither MMEngine nor torch. It makes the scope ``coavt_mm`` and the
names ``coavt_mm::CONFIG`` known to MMEngine, now or when that is imported.
"""

from coavt_mm.imports import watch_imports

__version__ = '0.1.0'

watch_imports()
