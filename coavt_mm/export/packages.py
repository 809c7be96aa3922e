"""What exporting takes beside what the package needs anyway."""

from importlib.metadata import version
from importlib.util import find_spec

from mmengine.utils import digit_version

from coavt_mm.errors import ConfigError

NEEDED = ('onnx', 'onnxruntime', 'onnxscript')
#: The exporter of 2.6 fixes the length of texts; those between were not tried.
TORCH = '2.11'


def check_packages() -> None:
    """Refuse to begin without the packages of the extra ``export``.

    Raises:
        ConfigError: One is missing or too old.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'export needs {", ".join(missing)}: pip install "coavt-mm[export]"'
        )
    if digit_version(version('torch')) < digit_version(TORCH):
        raise ConfigError(
            f'export needs torch {TORCH} or later, and this is {version("torch")}; '
            'newer ones export what older ones have trained'
        )
