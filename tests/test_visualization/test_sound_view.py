import numpy as np
import pytest

from coavt_mm.visualization.sound_view import BINS, brightness, log_mel


@pytest.mark.parametrize('rate', [8000, 16000, 48000])
def test_a_rising_tone_rises(rate):
    times = np.arange(rate) / rate
    energies = log_mel(0.5 * np.sin(2 * np.pi * (300 + 1000 * times) * times), rate)
    assert energies.shape[1] == BINS
    loudest = energies[5:-5].argmax(1)
    assert (np.diff(loudest) >= 0).all()
    assert loudest[-1] > loudest[0] + 10


def test_silence_and_hiss_stay_dark():
    assert not brightness(log_mel(np.zeros(8000), 16000)).any()
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(8000)
    assert brightness(log_mel(hiss, 16000)).mean() < 0.5
    loud = log_mel(3000 * hiss, 16000)
    assert brightness(loud).max() == 1
