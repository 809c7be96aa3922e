"""An index of own clips that keeps: made once, asked often, brought up to date.

``Index.create(folder, model)``, ``index.add('my_clips')``, ``index.query('a dog')``.
``catalogue`` knows the clips, ``rows`` and the stores keep their vectors, ``scanning``
finds what is new, ``reading`` embeds it, ``cluster`` on many machines, ``asking``
searches, ``moments`` says when.
"""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.search.cluster import OnRay
    from coavt_mm.search.filters import Filters
    from coavt_mm.search.index import Index
    from coavt_mm.search.moments import find_moments

__all__ = ['Filters', 'Index', 'OnRay', 'find_moments']

__getattr__, __dir__ = lazily(
    __name__,
    dict(Filters='filters', Index='index', OnRay='cluster', find_moments='moments'),
)
