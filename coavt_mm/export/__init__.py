"""A trained model as files that run without this package: torch.export's and ONNX.

``export_model(checkpoint, folder)``. ``graphs`` says what is exported, ``writing``
writes it, ``checking`` compares it with the model, ``describing`` says in JSON what
goes in and comes out, ``measuring`` what int8 costs.
"""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.export.measuring import measure_recall
    from coavt_mm.export.writing import export_model

__all__ = ['export_model', 'measure_recall']

__getattr__, __dir__ = lazily(
    __name__, dict(export_model='writing', measure_recall='measuring')
)
