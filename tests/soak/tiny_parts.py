"""The tiny parts that several kinds of files share; ``HOME`` is set before all else."""

from functools import cache
from pathlib import Path

import tiny_apis
from media_files import tone, write_sound

HOME: list[Path] = []  # where the good files lie


def vocabulary() -> Path:
    letters = [chr(code) for code in range(ord('a'), ord('z') + 1)]
    pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'dog', 'barks']
    pieces += letters + [f'##{letter}' for letter in letters] + ['.', ',']
    path = HOME[0] / 'vocab.txt'
    path.write_text('\n'.join(pieces) + '\n')
    return path


@cache
def model():
    """A tiny CoAVT for clips of 0.5 s."""
    from coavt_mm.apis import CoAVTInferencer

    return CoAVTInferencer(weights=checkpoint(), device='cpu', show_progress=False)


@cache
def checkpoint() -> Path:
    return tiny_apis.save(tiny_apis.coavt_cfg(vocabulary()), HOME[0] / 'coavt.pth')


def wav(path: Path) -> Path:
    return write_sound(path, tone(440.0, 0.5, 16000), 16000)


def write(scratch: Path, name: str, content: bytes) -> Path:
    path = scratch / name
    path.write_bytes(content)
    return path
