"""Sounding Shapes: rendered clips whose every factor is known.

``grammar`` names the factors and turns them into captions and back, ``splits``
chooses which combinations train and test, ``ceilings`` says what a perfect model
could reach, ``rendering`` draws and plays one clip, ``making`` makes a data set.
"""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.demo.ceilings import retrieval_ceilings
    from coavt_mm.demo.grammar import FACTORS, parse_caption
    from coavt_mm.demo.making import make_sounding_shapes
    from coavt_mm.demo.settings import Settings

__all__ = [
    'FACTORS',
    'Settings',
    'make_sounding_shapes',
    'parse_caption',
    'retrieval_ceilings',
]

__getattr__, __dir__ = lazily(
    __name__,
    dict(
        FACTORS='grammar',
        Settings='settings',
        make_sounding_shapes='making',
        parse_caption='grammar',
        retrieval_ceilings='ceilings',
    ),
)
