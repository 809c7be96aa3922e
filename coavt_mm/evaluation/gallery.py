"""What a retrieval evaluation ranks: that all samples are there, once, and which."""

import logging

from mmengine.logging import print_log

from ..errors import CoAVTError


def check_samples(results: list[dict], size: int | None) -> None:
    """Refuse to rank a gallery in which samples are missing or twice.

    Args:
        results: One dict a sample, with ``sample_idx`` and ``sample_id``.
        size: Length of the data set; None where it is not known.

    Raises:
        CoAVTError: The message says how to evaluate instead.
    """
    seen = set()
    for record in results:
        if record['sample_idx'] in seen:
            raise CoAVTError(
                f'sample {record["sample_id"]!r} was counted twice; evaluate with '
                "mmengine's DefaultSampler(shuffle=False, round_up=True)"
            )
        seen.add(record['sample_idx'])
    if size is not None and len(results) != size:
        raise CoAVTError(
            f'{len(results)} of {size} samples arrived at the metric; '
            'evaluate with drop_last=False and DefaultSampler(shuffle=False)'
        )


def describe(metric: str, results: list[dict], meta: dict | None) -> dict:
    """Say what was ranked; a clip that could not be read counts as missing.

    Args:
        metric: Name of the metric, which is that of its files too.
        results: One dict a sample, with ``sample_id`` and ``error``.
        meta: The data set's ``metainfo``.

    Returns:
        ``metric``, ``protocol``, ``manifest``, ``manifest_hash``, ``clips``,
        ``missing`` and ``ceilings``.
    """
    meta = meta or {}
    broken = [record['sample_id'] for record in results if record['error']]
    if broken:
        print_log(
            f'{len(broken)} clips could not be read and count as missing: '
            f'{", ".join(map(str, broken[:20]))}',
            logger='current',
            level=logging.WARNING,
        )
    missing = meta.get('missing')
    return {
        'metric': metric,
        'protocol': meta.get('protocol'),
        'manifest': meta.get('manifest'),
        'manifest_hash': meta.get('manifest_hash', meta.get('hash')),
        'clips': len(results) - len(broken),
        'missing': (missing or 0) + len(broken) if missing or broken else missing,
        'ceilings': meta.get('ceilings'),
    }
