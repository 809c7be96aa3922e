"""A peer's weights and processor from a folder or the hub; nothing of them is run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from coavt_mm.errors import CheckpointError, ConfigError

#: Kinds of peers, as their ``config.json`` says it.
KINDS = ('clap', 'clip', 'siglip', 'pe_audio_video')
NEEDED = 5  # the first transformers with all of them, and what is tested
#: What is fetched of a hub id: settings, words and weights that are data.
FILES = ['*.json', '*.txt', '*.model', '*.safetensors']
CONFIG = 'config.json'


def find_folder(path: str) -> Path:
    """The folder with a peer's files; those of a hub id are fetched once.

    Args:
        path: A folder, or a hub id such as 'laion/clap-htsat-unfused'.

    Raises:
        CheckpointError: It is not there, or can't be fetched.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _checked(folder, path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    from coavt_mm.datasets.hub import cached_folder, hub_answers

    cached = cached_folder(path)
    if cached is not None and _is_whole(cached):
        return cached
    if not hub_answers():
        raise CheckpointError(
            f'{path}: no such folder, not in the cache of this machine, and the hub '
            'can not be reached; give the folder with config.json'
        )
    try:
        folder = Path(snapshot_download(path, allow_patterns=FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointError(
            f'{path}: can not be fetched from the hub ({_first_line(error)})'
        ) from error
    return _checked(folder, path)


def _checked(folder: Path, path: str) -> Path:
    if not (folder / CONFIG).is_file():
        files = sorted(file.name for file in folder.glob('*.pth'))[:5]
        own = f', or one of its checkpoints: {", ".join(files)}' if files else ''
        raise CheckpointError(
            f'{path}: a folder without {CONFIG}; give one that save_pretrained() of '
            f'transformers wrote{own}'
        )
    if not _is_whole(folder):
        raise CheckpointError(
            f'{path}: has no weights as safetensors, and others may hold code; '
            'docs/peers.md says how to convert those that you trust'
        )
    return folder


def _is_whole(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and any(folder.glob('*.safetensors'))


def _first_line(error: Exception) -> str:
    return next((x for x in str(error).splitlines() if x.strip()), type(error).__name__)


def read_kind(folder: Path, path: str) -> str:
    """Which of :data:`KINDS` a folder holds.

    Args:
        folder: Has ``config.json``.
        path: Its name, for messages.

    Raises:
        CheckpointError: It is none of them.
        ConfigError: The installed transformers is too old.
    """
    try:
        settings = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: {CONFIG} is no JSON ({error})') from error
    kind = settings.get('model_type') if isinstance(settings, dict) else None
    if kind not in KINDS:
        raise CheckpointError(
            f'{path}: is a {str(kind):.60}; a PeerEncoder takes {", ".join(KINDS)}'
        )
    import transformers

    if int(transformers.__version__.partition('.')[0]) < NEEDED:
        raise ConfigError(
            f'{path}: is a {kind}, which needs transformers {NEEDED}.0 or newer; '
            f'{transformers.__version__} is installed: pip install -U transformers'
        )
    return kind


def load(path: str) -> tuple[str, Any, Any]:
    """Load a peer, in float32 and for evaluation.

    Weights are read from safetensors alone, and no code that a folder brings is run.

    Args:
        path: A folder, or a hub id.

    Returns:
        Its kind, the model, and the processor, of transformers' classes.

    Raises:
        CheckpointError: It is missing, damaged, incomplete, or of another kind.
        ConfigError: transformers is too old for it, or a package is missing.
    """
    folder = find_folder(path)
    kind = read_kind(folder, path)
    from transformers import AutoConfig, AutoModel, AutoProcessor

    given: dict[str, Any] = dict(trust_remote_code=False, local_files_only=True)
    try:
        with _quietly():
            config = AutoConfig.from_pretrained(folder, **given)
            # config.json could name a kernel on the hub, which is code
            attention = 'sdpa' if _takes_sdpa(config) else 'eager'
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                attn_implementation=attention,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # said below
                **given,
            )
            processor = AutoProcessor.from_pretrained(folder, **given)
    except ImportError as error:
        raise ConfigError(f'{path}: {_first_line(error)}') from error
    except Exception as error:  # whatever a foreign config.json leads to
        reason = f'{type(error).__name__}: {_first_line(error)}'
        raise CheckpointError(f'{path}: can not be loaded ({reason:.300})') from error
    _check_whole(path, report)
    return kind, model.float().eval().requires_grad_(False), processor


def _takes_sdpa(config: Any) -> bool:
    from transformers import MODEL_MAPPING

    return bool(getattr(MODEL_MAPPING[type(config)], '_supports_sdpa', False))


def _check_whole(path: str, report: dict) -> None:
    """Refuse weights that transformers would have drawn at random."""
    odd = [*report.get('missing_keys', ()), *report.get('mismatched_keys', ())]
    if odd:
        first = odd[0] if isinstance(odd[0], str) else odd[0][0]
        raise CheckpointError(
            f'{path}: {len(odd)} tensors are missing or of another shape, such as '
            f'{first}'
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' bars, notes, and what it prints of its own docstrings."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
