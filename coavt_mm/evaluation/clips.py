"""What an evaluation must know of its clips: none twice, none lost, whose they are."""

import logging

import numpy as np
from mmengine.logging import print_log
from torch import Tensor

from coavt_mm.datasets.decoding import read_frames
from coavt_mm.errors import ClipError, CoAVTError


def check_finite(tensor: Tensor, key: str, sample_id: str | None) -> None:
    """Refuse a tensor of a clip that holds NaN or inf.

    Raises:
        CoAVTError: The message names tensor and clip.
    """
    if not tensor.isfinite().all():
        raise CoAVTError(
            f'{key} of sample {sample_id!r} holds NaN or inf; a number of it would be '
            'meaningless. Look at the clip, or at the checkpoint it came from'
        )


def check_samples(records: list[dict], size: int | None) -> None:
    """Refuse records of which some are there twice, or not at all.

    Args:
        records: One dict a clip with ``sample_idx`` and ``sample_id``.
        size: Length of the data set; None where nobody knows it.

    Raises:
        CoAVTError: The message says which clip, and how to sample rightly.
    """
    seen = set()
    for record in records:
        if record['sample_idx'] in seen:
            raise CoAVTError(
                f'sample {record["sample_id"]!r} was counted twice; evaluate with '
                "mmengine's DefaultSampler(shuffle=False, round_up=True)"
            )
        seen.add(record['sample_idx'])
    if size is not None and len(records) != size:
        raise CoAVTError(
            f'{len(records)} of {size} samples arrived at the metric; '
            'evaluate with drop_last=False and DefaultSampler(shuffle=False)'
        )


def describe_clips(meta: dict | None, records: list[dict]) -> dict:
    """Say what was evaluated; a clip that could not be read counts as missing.

    Args:
        meta: The data set's ``metainfo``.
        records: One dict a clip with ``sample_id`` and ``error`` (None: it is whole).

    Returns:
        ``protocol``, ``manifest``, ``manifest_hash``, ``clips`` and ``missing`` (None
        where the data set does not state it).
    """
    meta = meta or {}
    broken = [record['sample_id'] for record in records if record['error']]
    if broken:
        print_log(
            f'{len(broken)} clips could not be read and count as missing: '
            f'{", ".join(map(str, broken[:20]))}',
            logger='current',
            level=logging.WARNING,
        )
    missing = meta.get('missing')
    return {
        'protocol': meta.get('protocol'),
        'manifest': meta.get('manifest'),
        'manifest_hash': meta.get('manifest_hash', meta.get('hash')),
        'clips': len(records) - len(broken),
        'missing': (missing or 0) + len(broken) if missing or broken else missing,
    }


def middle_frame(sample: dict) -> np.ndarray | None:
    """Decode the frame in the middle of a clip.

    Args:
        sample: ``clip_path`` and either ``frame_times`` or ``start`` and ``end``, in s.

    Returns:
        (H, W, 3) uint8 RGB, or None where the clip has no picture.
    """
    path = sample.get('clip_path')
    if path is None:
        return None
    times = sample.get('frame_times')
    if times is not None and len(times):
        time = float(times[len(times) // 2])
    else:
        start = sample.get('start') or 0.0
        time = (start + (sample.get('end') or start)) / 2
    try:
        frames, _ = read_frames(path, [time])
    except ClipError as error:
        message = f'the contact sheet shows no picture of {path}: {error}'
        print_log(message, logger='current', level=logging.WARNING)
        return None
    return frames[0]
