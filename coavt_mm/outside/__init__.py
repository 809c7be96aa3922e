"""A trained model for the tools of others: MTEB's benchmarks, sentence-transformers.

``vectors`` makes one vector of each input, ``mteb_encoder`` and ``sentence_module``
give it their forms, ``mteb_tasks`` makes benchmarks of the demo's clips.
"""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.outside.mteb_encoder import CoAVTEncoder
    from coavt_mm.outside.mteb_tasks import sounding_shapes_tasks
    from coavt_mm.outside.sentence_module import CoAVTModule, sentence_transformer
    from coavt_mm.outside.vectors import Vectors

_HOMES = dict(
    CoAVTEncoder='mteb_encoder',
    CoAVTModule='sentence_module',
    Vectors='vectors',
    sentence_transformer='sentence_module',
    sounding_shapes_tasks='mteb_tasks',
)
__all__ = [
    'CoAVTEncoder',
    'CoAVTModule',
    'Vectors',
    'sentence_transformer',
    'sounding_shapes_tasks',
]
__getattr__, __dir__ = lazily(__name__, _HOMES)
