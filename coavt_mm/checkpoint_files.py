"""Reading checkpoint files without running what they hold."""

import json
import logging
import os.path as osp
import pickle
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

from coavt_mm.checksums import CHECKSUM, PARTS, checksum, is_part
from coavt_mm.errors import CheckpointError, shown
from coavt_mm.training_log import whole_log

# what unpickling and JSON raise for bytes that somebody, or a bad disk, has changed
_DAMAGE = (RuntimeError, EOFError, BadZipFile, LookupError, OSError, ValueError,
           TypeError, AttributeError, ArithmeticError, MemoryError,
           AssertionError, struct.error)  # fmt: skip

#: How files with weights end.
WEIGHTS = ('.pth', '.pt', '.ckpt', '.bin', '.safetensors')

# what averages of weights (mmengine's and torch's) count in, beside `module`
_COUNTS = ('steps', 'n_averaged')


def names_peer(place: str) -> bool:
    """Whether a checkpoint is named by a folder, or by a hub id, as others' models are.

    Args:
        place: A path, or a name such as 'laion/clap-htsat-unfused'.
    """
    path = osp.expanduser(place)
    if osp.exists(path):
        return osp.isdir(path)
    is_id = re.fullmatch(r'[\w.-]+/[\w.-]+', place) is not None
    return is_id and osp.splitext(place)[1].lower() not in WEIGHTS


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a local checkpoint without running code from it.

    What torch.compile, DDP and averages put before the names is taken off, see
    :func:`plain_names`.

    Args:
        filename: Path of the file; ``~`` is expanded.
        map_location: As of :func:`torch.load`.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: If the file is missing, damaged, another one than its checksum
            says, or asks for code.
    """
    path = osp.expanduser(filename)
    if not osp.isfile(path):
        raise CheckpointError(f'{path}: there is no such checkpoint file.')
    is_whole = has_checksum(path)
    if path.endswith('.safetensors'):
        return _plain(path, _load_safetensors(path))
    content = unpickle(path, map_location)
    if not is_whole:
        _check_records(path)
    if isinstance(content, dict) and 'parts' in content:
        from coavt_mm.checkpoint_parts import read_parts

        try:
            read_parts(content, path, is_whole)
        except _DAMAGE as error:
            raise CheckpointError(_explain_damage(path + PARTS, error)) from error
    return _plain(path, content)


def unpickle(path: str, map_location: Any = None, more: Sequence = ()) -> Any:
    """Read what ``torch.save`` wrote: tensors, arrays, numbers and text.

    Args:
        path: Of the file.
        map_location: As of :func:`torch.load`.
        more: What the file may ask for besides.

    Returns:
        What is in it, as it is.

    Raises:
        CheckpointError: If the file is damaged or asks for something else.
    """
    import torch

    try:
        _refuse_packed(path)
        with torch.serialization.safe_globals([*_array_types(), *more]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_explain_refusal(path, str(error))) from error
    except _DAMAGE as error:
        raise CheckpointError(_explain_damage(path, error)) from error


def _refuse_packed(path: str) -> None:
    """torch stores tensors as they are; packed ones may be a thousand times larger."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as file:
        if any(member.compress_type != ZIP_STORED for member in file.infolist()):
            raise ValueError('its tensors are compressed, which torch never does')


def has_checksum(path: str) -> bool:
    """Compare a file with the checksum beside it, which our ``CheckpointHook`` wrote.

    Args:
        path: Of the checkpoint.

    Returns:
        Whether there is one; files of other programs and releases have none.

    Raises:
        CheckpointError: If the file is another one than it was.
    """
    note = path + CHECKSUM
    if not osp.isfile(note):
        return False
    try:
        with open(note, encoding='utf-8', errors='replace') as file:
            lines = [line.split(maxsplit=1) for line in file.read(1 << 20).splitlines()]
    except OSError as error:
        raise CheckpointError(_explain_damage(path, error)) from error
    named = {path: lines[0][:1] if lines else []}
    for line in lines[1:]:
        if len(line) == 2 and is_part(line[1], path):
            named[osp.join(osp.dirname(path), line[1])] = line[:1]
    for name, said in named.items():
        _compare(name, said, note)
    return True


def _compare(path: str, said: list[str], note: str) -> None:
    try:
        digest = checksum(path)
    except OSError as error:
        raise CheckpointError(_explain_damage(path, error)) from error
    if said != [digest]:
        raise CheckpointError(
            f'{path}: its checksum differs from that in {osp.basename(note)}: the file '
            'has been cut off, damaged or changed since it was saved; take another '
            'one, or remove the .sha256 file if you changed it yourself'
        )


def _check_records(path: str) -> None:
    """Compare the parts of a checkpoint with the sums that ``torch.save`` wrote: torch
    itself reads a changed one without a word.

    It is said and no error: ``torch.serialization.set_crc32_options`` may leave the
    sums out.
    """
    from mmengine.logging import print_log

    try:
        if not is_zipfile(path):
            return
        with ZipFile(path) as archive:
            odd = archive.testzip()
    except (*_DAMAGE, zlib.error):
        return  # torch says what is wrong
    if odd is not None:
        print_log(
            shown(
                f'{path}: {odd} differs from its sum (CRC-32): the file is damaged, or '
                'was saved without sums'
            ),
            logger='current',
            level=logging.WARNING,
        )


def _load_safetensors(path: str) -> dict:
    """The tensors, and what ``save_weights`` wrote beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            meta = json.loads((file.metadata() or {}).get('coavt_mm', '{}'))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, *_DAMAGE) as error:
        raise CheckpointError(_explain_damage(path, error)) from error
    return dict(state_dict=state, meta=meta)


def _explain_damage(path: str, error: Exception) -> str:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f'{path}: the checkpoint is damaged or cut off ({reason[0][:200]}); '
        'copy or download it again.'
    )


def _plain(path: str, checkpoint: Any) -> Any:
    """What was read, without source code and with plain names of tensors."""
    from mmengine.logging import print_log
    from torch import Tensor

    if not isinstance(checkpoint, dict):
        return checkpoint
    meta = checkpoint.get('meta') or {}
    about = meta.get('dataset_meta') if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(about or {}, dict):
        raise CheckpointError(
            f'{path}: the checkpoint is damaged (its meta is no dictionary); copy or '
            'download it again.'
        )
    if meta.pop('config', None) is not None:
        print_log(
            f'{path}: meta["config"] is left out: it is Python source, which mmengine '
            'would execute on resume',
            logger='current',
            level=logging.WARNING,
        )
    if 'message_hub' in checkpoint:
        try:
            checkpoint['message_hub'] = whole_log(checkpoint['message_hub'])
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f'{path}: the checkpoint is damaged ({error})'
            ) from error
    if checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
        return plain_names(checkpoint, path)
    if isinstance(checkpoint.get('state_dict'), dict):
        checkpoint['state_dict'] = plain_names(checkpoint['state_dict'], path)
    average = checkpoint.get('ema_state_dict')
    if isinstance(average, dict):  # mmengine resumes it under these names
        plain = plain_names(average, path)
        checkpoint['ema_state_dict'] = {
            **{name: average[name] for name in _COUNTS if name in average},
            **{f'module.{name}': value for name, value in plain.items()},
        }
    return checkpoint


def plain_names(
    state: Mapping[str, Any], where: str, inner: bool = False
) -> dict[str, Any]:
    """Names of tensors without what wrappers of a model put into them.

    DDP and averages of weights put ``module.`` before all names, torch.compile
    ``_orig_mod.``, also within names where a part is compiled; in any order, as often
    as they were wrapped. The count of an average is left out.

    Args:
        state: Name -> tensor; stays as it is.
        where: Its file, for messages.
        inner: Take ``module.`` off within names too, where DDP wrapped the parts. No
            part of this package is called so, parts of others are.

    Returns:
        Plain name -> tensor.

    Raises:
        CheckpointError: If a name is no text, or two become the same.
    """
    odd = [name for name in state if not isinstance(name, str)]
    if odd:
        raise CheckpointError(f'{where}: {odd[0]!r} is no name of a tensor')
    within = r'(module|_orig_mod)' if inner else '_orig_mod'
    pattern = re.compile(rf'^((module|_orig_mod)\.)+|(?<=\.){within}\.')
    averaged = any(name.startswith('module.') for name in state)
    plain = {}
    for name, value in state.items():
        if averaged and name in _COUNTS:
            continue
        new = pattern.sub('', name)
        if new in plain:
            raise CheckpointError(
                f'{where}: {new!r} is there twice, also as {name!r}; keep one of them'
            )
        plain[new] = value
    return plain


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download a checkpoint into torch hub's folder and read it safely.

    The copy is kept by its whole address: files of one name at two addresses are two.
    In a process group the first process of each machine downloads, the others wait.

    Args:
        filename: Address of the file.
        map_location: As of :func:`torch.load`.

    Returns:
        The checkpoint.
    """
    import os
    from http.client import HTTPException
    from urllib.parse import urlparse

    from mmengine.dist import barrier
    from torch import hub

    folder = osp.join(hub.get_dir(), 'checkpoints')
    try:
        name = osp.basename(urlparse(filename).path)[-100:]
        path = osp.join(folder, f'{sha256(filename.encode()).hexdigest()[:16]}-{name}')
        if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not osp.isfile(path):
            os.makedirs(folder, exist_ok=True)
            hub.download_url_to_file(filename, path, progress=False)
    except (OSError, HTTPException, ValueError) as error:
        raise CheckpointError(f'{filename}: download failed ({error}).') from error
    finally:
        barrier()  # nobody waits for a process whose download failed
    return load_from_local(path, map_location)


def _explain_refusal(path: str, message: str) -> str:
    """Say in one line what the file asked for."""
    found = re.search(
        r'GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)|refused: (.+)',
        message,
        re.MULTILINE,
    )
    if found is None:
        return (
            f'{path}: not a checkpoint, or damaged '
            f'({message.strip().splitlines()[-1]}); copy or download it again.'
        )
    asked = next(group for group in found.groups() if group).rstrip('.')
    if asked.rpartition('.')[2] in ('getattr', 'HistoryBuffer'):
        return (
            f'{path}: refused, the file asks for `{asked}`, as training logs do that '
            'mmengine has pickled; `coavt convert log OLD NEW` writes one with the log '
            'as plain numbers'
        )
    return (
        f'{path}: refused, the file asks for `{asked}`, which could run code. A '
        'checkpoint of mmengine holds tensors, numbers and text only; load the '
        'weights where the file comes from and save its state_dict anew.'
    )


def _array_types() -> list:
    """All that numpy's arrays and scalars are rebuilt from."""
    import numpy as np

    scalar: Any = np.float64(0).__reduce__()[0]
    reconstruct: Any = np.zeros(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in np.typecodes['AllInteger'] + '?efdgSU']
    renamed = [
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name, function in (('_reconstruct', reconstruct), ('scalar', scalar))
    ]
    return [np.ndarray, np.dtype, *dtypes, *renamed]
