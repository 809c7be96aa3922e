"""From official lists and folders of clips to manifests and reports."""

from coavt_mm.preparation.checking import PROBLEMS, check_clip
from coavt_mm.preparation.layouts import ClipIndex, FolderIndex
from coavt_mm.preparation.preparing import prepare
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
