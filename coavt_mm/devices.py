"""Whether there is a GPU, as far as can be told without importing torch."""

import os
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

#: Where Linux shows the devices of NVIDIA (Tegra and Windows' subsystem too), AMD and
#: Intel.
NODES = ('nvidia*', 'nvhost*', 'nvgpu*', 'nvmap', 'dxg', 'kfd', 'dri/*')
#: Packages that bring torch other accelerators.
OTHERS = ('torch_npu', 'torch_mlu', 'torch_musa', 'torch_dipu', 'torch_xla')


def why_no_gpu(folder: str = '/dev') -> str | None:
    """Say why there can't be an accelerator here.

    Args:
        folder: Of the device nodes.

    Returns:
        The reason; None where there is one, or where only torch can tell.
    """
    if any(map(find_spec, OTHERS)) or sys.platform == 'darwin':
        return None
    built_for = _backends()
    if built_for is not None and not built_for:
        return 'torch is built without'
    if sys.platform == 'linux' and not _any_of(NODES, Path(folder)):
        return f'{folder} has no device of one'
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    return None if hidden is None or hidden.strip() else 'CUDA_VISIBLE_DEVICES is empty'


def _any_of(patterns: Iterable[str], folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _backends() -> list[str] | None:
    """What the installed torch is built for; None if its version does not say."""
    spec = find_spec('torch')
    file = Path(spec.origin).with_name('version.py') if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    stated = re.findall(r'^(cuda|hip|xpu)\b.*= (.+)$', file.read_text(), re.MULTILINE)
    return [name for name, value in stated if value != 'None'] if stated else None
