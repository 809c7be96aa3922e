"""What is looked at before a run imports, reads or builds anything large.

Nothing here needs torch, so that a path that is wrong is said at once.
"""

import json
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from coavt_mm.checkpoint_files import names_peer
from coavt_mm.class_sources import arguments_of, is_own
from coavt_mm.cli.count_checks import wrong_counts
from coavt_mm.config_variables import dicts_in
from coavt_mm.datasets.manifest import nearest, read_sidecar
from coavt_mm.datasets.reading import read_list
from coavt_mm.devices import why_no_gpu
from coavt_mm.errors import (
    CheckpointError,
    ConfigError,
    DatasetMissingError,
    ManifestError,
)

MOST_ROWS = 20_000  # of which it is seen at once whether clips and labels are there
#: What mmengine takes out of a dictionary before its class sees it.
FRAMEWORKS_KEYS = {'_scope_', 'constructor', 'paramwise_cfg', 'priority', 'type'}

#: What no class of the config takes, but a run does.
_KINDS: dict[str, tuple[type, ...]] = dict(
    activation_checkpointing=(list, tuple),
    compile=(bool, dict),
    custom_imports=(dict,),
    default_scope=(str,),
    efficient_conv_bn_eval=(list, tuple),
    experiment_name=(str,),
    load_from=(str,),
    resume=(bool,),
)


def check_inputs(cfg: Any, loaders: Sequence[str], checkpoint: str | None) -> None:
    """Refuse a run that lacks a file, or whose batches hold nothing.

    Args:
        cfg: The config.
        loaders: Those of its loaders that the run reads.
        checkpoint: That it starts from.

    Raises:
        CoAVTError: The message names the setting and the file.
    """
    for key, kinds in _KINDS.items():
        if cfg.get(key) is not None and not isinstance(cfg[key], kinds):
            allowed = ' or '.join(kind.__name__ for kind in kinds)
            raise ConfigError(f'{key}={cfg[key]!r}: must be {allowed}')
    _check_arguments(cfg, loaders)
    if 'train_dataloader' in loaders:
        check_mixed_precision(cfg, has_gpu=why_no_gpu() is None)
    used = {name: cfg[name] for name in loaders if isinstance(cfg.get(name), dict)}
    for name, loader in used.items():
        _check_batch(name, loader)
    if 'train_dataloader' in loaders:
        for why in wrong_counts(cfg).values():
            raise ConfigError(why)
    for path, node in dicts_in({**used, 'model': cfg.get('model')}):
        if isinstance(node.get('tokenizer'), str):
            _check_tokenizer(f'{path}.tokenizer', node['tokenizer'])
        if path.endswith('init_cfg') and isinstance(node.get('checkpoint'), str):
            check_checkpoint(node['checkpoint'], f' ({path}.checkpoint)')
    for path, node in dicts_in(used):
        kind = str(node.get('type')).rpartition('.')[2]
        if kind in ('AVTDataset', 'AVTShardDataset'):
            _check_manifest(path, node, has_clips=kind == 'AVTDataset')
    check_checkpoint(checkpoint or cfg.get('load_from'))
    names = {
        n['tokenizer'] for _, n in dicts_in(used) if isinstance(n.get('tokenizer'), str)
    }
    for name in sorted(names):
        _check_hub(name)


def check_mixed_precision(cfg: Any, has_gpu: bool) -> None:
    """Refuse mmengine's mixed precision without a GPU: it only asserts that, late.

    Args:
        cfg: The config.
        has_gpu: Whether there may be one.

    Raises:
        ConfigError: There is none.
    """
    kind = str((cfg.get('optim_wrapper') or {}).get('type')).rpartition('.')[2]
    if kind == 'AmpOptimWrapper' and not has_gpu:
        raise ConfigError(
            'optim_wrapper.type=AmpOptimWrapper needs a GPU, and there is none here; '
            'on a CPU take BF16OptimWrapper, or OptimWrapper'
        )


def _check_arguments(cfg: Any, loaders: Sequence[str]) -> None:
    """Refuse what our classes don't take, as mistyped in a file that a user wrote."""
    if cfg.get('custom_imports'):  # may bring another class of the name
        return
    names = ('model', 'default_hooks', 'custom_hooks', *loaders)
    scope = cfg.get('default_scope', 'mmengine')
    for path, node in dicts_in({name: cfg.get(name) for name in names}):
        kind = node.get('type')
        if not isinstance(kind, str) or not is_own(kind, scope):
            continue
        taken = arguments_of(kind, scope)
        for key in node.keys() - FRAMEWORKS_KEYS - (taken or node.keys()):
            raise ConfigError(
                f'{path}.{key}: {kind} does not take {key!r}'
                f'{nearest(key, sorted(taken or ()))}'
            )


def _check_batch(name: str, loader: dict) -> None:
    size = loader.get('batch_size', 1)
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f'{name}.batch_size={size!r}: a batch has 1 clip or more')
    workers = loader.get('num_workers', 0)
    if not isinstance(workers, int) or workers < 0:
        raise ConfigError(f'{name}.num_workers={workers!r}: give 0 or more')


def _check_tokenizer(setting: str, name: str) -> None:
    path = Path(name).expanduser()
    is_path = path.is_absolute() or name.count('/') > 1 or path.suffix
    if is_path and '://' not in name and not path.exists():
        raise DatasetMissingError(
            f'{setting}={name}: no such file or directory (looked in {Path.cwd()}); '
            'give a directory, a vocab.txt or a hub id'
        )


def _check_hub(name: str) -> None:
    """Ask the hub before anything heavy is imported; what is a path was looked at."""
    is_known = name.startswith('stored:') or Path(name).expanduser().exists()
    if not is_known and name.count('/') < 2 and not Path(name).suffix:
        from coavt_mm.datasets.hub import check_reachable

        check_reachable(name)


def check_checkpoint(path: str | None, setting: str = '') -> None:
    """Refuse a checkpoint that is not there.

    Args:
        path: Its path; an address, a folder or hub id (of a peer), or None, is not
            looked at.
        setting: What the message says of where it is named.

    Raises:
        CheckpointError: There is no such file, folder or hub id.
    """
    if not path or '://' in path or osp.isfile(osp.expanduser(path)):
        return
    if not names_peer(path):
        raise CheckpointError(f'{path}: there is no such checkpoint file{setting}')
    from coavt_mm.peers.loading import find_folder

    find_folder(path)


def _check_manifest(setting: str, dataset: dict, has_clips: bool) -> None:
    given, root = dataset.get('ann_file'), dataset.get('data_root') or ''
    if not isinstance(given, str):
        raise ConfigError(
            f'{setting}.ann_file={given!r}: one manifest is given here; for several, '
            f"{setting}=dict(type='ConcatDataset', datasets=[...])"
        )
    if '://' in given or '://' in root:
        return
    path = Path(osp.join(root, given)).expanduser()
    if not path.is_file():
        told = f'manifest {path.name} is missing; looked for {path.absolute()}'
        how = dataset.get('how_to_get')
        raise DatasetMissingError(f'{told}; {how}' if how else told)
    with path.open('rb') as file:
        lines = [line for line in islice(file, MOST_ROWS) if line.strip()]
    if not lines:
        raise ManifestError(f'{path}: the manifest has no rows')
    if dataset.get('exclude') or dataset.get('indices') is not None or not has_clips:
        return  # not all of them are read
    rows = [*_rows(lines)]
    if dataset.get('missing', 'raise') == 'raise':
        _check_clips(path, rows, root, dataset)
        _check_labels(path, rows, dataset)


def _check_clips(path: Path, rows: list[dict], root: str, dataset: dict) -> None:
    files = [osp.join(root, name) for row in rows if (name := _clip(row))]
    gone = [name for name in files if not os.path.exists(name)]
    if gone:
        hint = dataset.get('how_to_get') or "set missing='skip' to go on without them"
        raise DatasetMissingError(
            f'{path}: {len(gone)} of {len(files)} clips are not on disk, the first is '
            f'{osp.abspath(gone[0])}; {hint}'
        )


def _check_labels(path: Path, rows: list[dict], dataset: dict) -> None:
    given = dataset.get('classes')
    classes = read_list(given) if isinstance(given, str) else given
    classes = classes or read_sidecar(path).get('classes')
    if not classes or dataset.get('other_labels') == 'drop':
        return
    known = {*classes}
    for row in rows:
        for label in row.get('labels') or ():
            if isinstance(label, str) and label not in known:
                raise ManifestError(
                    f"{path}: clip {row.get('id') or _clip(row)}: label '{label}' is "
                    f'not among the {len(known)} classes{nearest(label, classes)}'
                )


def _rows(lines: list[bytes]) -> Iterator[dict]:
    """The rows that can be read; what is wrong is said by who reads all."""
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _clip(row: dict) -> str | None:
    name = row.get('clip') or row.get('audio')
    return name if isinstance(name, str) else None
