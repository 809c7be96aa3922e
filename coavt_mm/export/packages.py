"""What exporting takes beside what the package needs anyway."""

from importlib.util import find_spec

from coavt_mm.errors import ConfigError

NEEDED = ('onnx', 'onnxruntime', 'onnxscript')


def check_packages() -> None:
    """Refuse to begin without the packages of the extra ``export``.

    Raises:
        ConfigError: One is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'export needs {", ".join(missing)}: pip install "coavt-mm[export]"'
        )
