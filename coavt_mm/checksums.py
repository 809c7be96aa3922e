"""Checksums of checkpoints, and the files that they are of."""

import os.path as osp
import re
from functools import partial
from hashlib import sha256

#: Behind the name of a checkpoint: the file with its checksum.
CHECKSUM = '.sha256'
#: Likewise: the folder with the parts that the processes of a sharded run wrote.
PARTS = '.parts'
#: The name of a part.
PART = re.compile(r'[\w-]+\.safetensors')


def checksum(path: str) -> str:
    """The sha256 of a file, in hexadecimal digits.

    Args:
        path: Of the file.

    Raises:
        OSError: It can't be read.
    """
    digest = sha256()
    with open(path, 'rb') as file:
        for block in iter(partial(file.read, 1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def is_part(name: str, path: str) -> bool:
    """Whether a name in the checksums of a checkpoint is one of its parts.

    Args:
        name: From its folder on.
        path: Of the checkpoint.
    """
    folder, _, file = name.partition('/')
    return folder == osp.basename(path) + PARTS and bool(PART.fullmatch(file))
