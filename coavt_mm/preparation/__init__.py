"""From official lists and folders of clips to manifests and reports."""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
    from coavt_mm.preparation.checking import check_clip
    from coavt_mm.preparation.layouts import ClipIndex, FolderIndex
    from coavt_mm.preparation.preparing import prepare
    from coavt_mm.preparation.settings import PROBLEMS
    from coavt_mm.preparation.sources import (
        ListedClip,
        read_audiocaps,
        read_audioset,
        read_folder_csv,
        read_valor,
        read_vggsound,
    )

__all__ = [
    'PROBLEMS',
    'ClipIndex',
    'FolderIndex',
    'ListedClip',
    'check_clip',
    'prepare',
    'read_audiocaps',
    'read_audioset',
    'read_folder_csv',
    'read_valor',
    'read_vggsound',
]

_HOMES = dict.fromkeys(__all__, 'sources')
_HOMES.update(
    PROBLEMS='settings',
    ClipIndex='layouts',
    FolderIndex='layouts',
    check_clip='checking',
    prepare='preparing',
)
__getattr__, __dir__ = lazily(__name__, _HOMES)
