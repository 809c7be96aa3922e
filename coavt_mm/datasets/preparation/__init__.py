"""From official lists and folders of clips to manifests and reports."""

from .checking import PROBLEMS, check_clip
from .layouts import ClipIndex, FolderIndex
from .preparing import prepare
from .sources import (
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
