"""An own transform."""

import numpy as np
from mmcv.transforms import BaseTransform

from coavt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomGain(BaseTransform):
    """Make the sound louder or softer; goes between LoadAudio and PackAVTInputs.

    Required Keys:

    - has_audio
    - waveform (with sound)

    Modified Keys:

    - waveform (with sound)

    Args:
        decibels: Largest change in dB, up or down.
    """

    def __init__(self, decibels: float = 6.0):
        self.decibels = decibels

    def transform(self, results: dict) -> dict:
        """Scale the waveform of a clip that has one."""
        if results['has_audio']:
            gain = np.random.uniform(-self.decibels, self.decibels)
            results['waveform'] = results['waveform'] * np.float32(10 ** (gain / 20))
        return results
