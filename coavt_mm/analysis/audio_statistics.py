"""Mean and spread of the log-mel energies of a corpus.

Letters: S audio samples, L spectrogram frames, M mel bins.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from coavt_mm.datasets.dataset import AVTDataset
from coavt_mm.errors import ClipError, ConfigError
from coavt_mm.models.logmel import LogMel


@dataclass
class RunningMoments:
    """Mean and variance of values that come in portions (Chan et al. 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean

    def add(self, values: Tensor) -> None:
        """Take in values of any shape."""
        if not values.numel():
            return
        values = values.double()
        count, mean = values.numel(), values.mean().item()
        squares = (values - mean).square().sum().item()
        total, delta = self.count + count, mean - self.mean
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    @property
    def std(self) -> float:
        """Standard deviation of all values so far."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


@torch.no_grad()
def clip_logmel(sample: dict, logmel: LogMel) -> Tensor:
    """Log-mel energies (L, M) of the sound of a loaded clip as the preprocessor takes
    them: the mean of the waveform taken off, frames of the padding left out."""
    waveform = torch.from_numpy(sample['waveform'][: sample['audio_samples']])
    return logmel((waveform - waveform.mean())[None])[0]


def first(items: list) -> dict:
    """Collates a batch of one."""
    return items[0]


def load_clips(
    manifest: str,
    data_root: str,
    pipeline: list[dict],
    clips: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Iterable[dict]:
    """Load clips of a manifest one by one, without those that can't be read.

    Args:
        manifest: Its path.
        data_root: Folder that its paths start from.
        pipeline: Transforms.
        clips: How many to draw at random; None takes all.
        seed: Of the draw.
        workers: Processes that load.

    Returns:
        A loader with a length; a clip that can't be read has ``error``.
    """
    if clips is not None and clips < 1:
        raise ConfigError(f'the number of clips must be 1 or more, not {clips}')
    dataset = AVTDataset(
        os.path.abspath(manifest),
        data_root,
        pipeline,
        test_mode=True,
        missing='skip',
        on_error='skip',
    )
    if clips is not None and clips < len(dataset):
        order = np.random.default_rng(seed).permutation(len(dataset))[:clips]
        dataset = dataset.get_subset(sorted(order.tolist()))
    return DataLoader(dataset, num_workers=workers, collate_fn=first)


def audio_statistics(
    manifest: str,
    data_root: str,
    seconds: float = 10.0,
    clips: int | None = None,
    seed: int = 0,
    workers: int = 0,
    silence_dbfs: float | None = -60.0,
    **logmel,
) -> dict:
    """Streams over a manifest; memory does not grow with it.

    Args:
        manifest: Its path.
        data_root: Folder that its paths start from.
        seconds: Longest sound of a clip in s, as in ``LoadAudio``.
        clips: How many clips to draw at random; None takes all.
        seed: Of the draw.
        workers: Processes that decode.
        silence_dbfs: Clips whose peak lies below this level (dB of full scale) are left
            out as soundless: digital silence is no sound.
        **logmel: Arguments of ``LogMel``, such as num_mel_bins.

    Returns:
        ``mean`` and ``std`` (natural logarithm of the energy), ``clips`` with sound,
        ``soundless`` and ``unreadable`` clips, ``frames``.

    Raises:
        ClipError: No clip has sound.
    """
    transform = LogMel(**logmel)
    load = dict(
        type='LoadAudio',
        seconds=seconds,
        sample_rate=transform.sample_rate,
        silence_dbfs=silence_dbfs,
    )
    loader = load_clips(manifest, data_root, [load], clips, seed, workers)
    moments = RunningMoments()
    heard = unreadable = total = frames = 0
    for sample in tqdm(loader, desc='reading sound', unit='clip', mininterval=1.0):
        total += 1
        unreadable += 'error' in sample
        if sample['has_audio']:
            energies = clip_logmel(sample, transform)
            moments.add(energies)
            heard += 1
            frames += len(energies)
    if not frames:
        raise ClipError(f'{manifest}: none of {total} clips has sound')
    return dict(
        mean=moments.mean,
        std=moments.std,
        clips=heard,
        soundless=total - heard - unreadable,
        unreadable=unreadable,
        frames=frames,
    )
