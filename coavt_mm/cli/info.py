"""What a bug report needs to say of a machine: ``coavt info``."""

import os
import platform
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from coavt_mm.cli.commands import Command
from coavt_mm.cli.launch import NEEDED
from coavt_mm.compat import conflicts, version_of

PACKAGES = (
    'torch',
    'torchvision',
    'torchaudio',
    'mmengine',
    'onedl-mmengine',
    'mmcv',
    'mmcv-lite',
    'onedl-mmcv',
    'mmaction2',
    'mmpretrain',
    'onedl-mmpretrain',
    'transformers',
    'tokenizers',
    'huggingface-hub',
    'safetensors',
    'numpy',
    'scipy',
    'scikit-learn',
    'matplotlib',
    'opencv-python',
    'av',
    'decord',
    'decord2',
    'torchcodec',
    'fsspec',
    'setuptools',
)
# What may be missing, and what is lost by that.
OPTIONAL = {
    'pycocoevalcap': 'captions are not scored; pip install "coavt-mm[caption]"',
    'ray': 'no work on clusters (--ray); pip install "coavt-mm[scale]"',
    'shtab': 'no completion in the shell; pip install shtab',
    'tensorboard': 'no TensorBoard files; pip install tensorboard',
}
DECODERS = {'pyav': 'av', 'decord': 'decord', 'torchcodec': 'torchcodec.decoders'}


def _load(module: str) -> ModuleType | str:
    """The module, or why it can't be imported, as one line."""
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]


def describe() -> Iterator[str]:
    """Say what there is on this machine, what is missing and what it costs.

    Returns:
        Lines.
    """
    from coavt_mm import __version__

    yield f'coavt-mm {__version__} in {Path(__file__).parents[1]}'
    yield f'Python {platform.python_version()}, {platform.platform()}'
    yield ''
    found = {name: version_of(name) for name in PACKAGES}
    for name, number in found.items():
        if number is not None:
            yield f'{name:18}{number}'
    yield ''
    yield from _devices()
    yield ''
    yield from _decoders()
    lines = [*(f'CONFLICT {line}' for line in conflicts()), *_missing()]
    yield from ['', *lines] if lines else ()


def _devices() -> Iterator[str]:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None
    yield f'CPU: {threads or os.cpu_count()} threads of {os.cpu_count()}'
    torch = _load('torch')
    if isinstance(torch, str):
        yield f'torch does not load: {torch}'
        return
    built = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'no CUDA'
    count = torch.cuda.device_count()
    yield f'GPUs: {count} (torch is built with {built})'
    for i in range(count):
        gpu = torch.cuda.get_device_properties(i)
        yield f'  cuda:{i} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB'


def _decoders() -> Iterator[str]:
    for name, module in DECODERS.items():
        loaded = _load(module)
        state = f'does not load: {loaded}' if isinstance(loaded, str) else 'works'
        if isinstance(loaded, str) and loaded.startswith('No module named'):
            state = 'not installed'
        yield f'decoder {name}: {state}'
    av = _load('av')
    if not isinstance(av, str):
        numbers = (
            f'{name} {".".join(map(str, number))}'
            for name, number in av.library_versions.items()
        )
        yield f"PyAV's FFmpeg: {', '.join(numbers)}"
    yield f'ffmpeg on the PATH: {shutil.which("ffmpeg") or "none; it is not needed"}'


def _missing() -> Iterator[str]:
    for module in NEEDED:
        loaded = _load(module)
        if isinstance(loaded, str):
            yield f'MISSING {module}, which is needed: {loaded}'
    for package, loss in OPTIONAL.items():
        if version_of(package) is None:
            yield f'missing {package}: {loss}'
    if shutil.which('java') is None:
        yield (
            'missing Java: no METEOR and no PTB tokens, captions are scored by '
            "tokenizer='words' only; apt install default-jre-headless"
        )


def _add_arguments(parser: ArgumentParser) -> None:
    pass


def _run(args: Namespace) -> None:
    for line in describe():
        print(line)


info = Command(
    'Say what is installed, what is missing and what that costs: for bug reports.\n\n'
    'Versions of packages, devices, decoders, and packages that overwrite each other.',
    _add_arguments,
    _run,
    ('coavt info',),
)
