import numpy as np
import pytest
from media_files import tone, write_sound

from coavt_mm.datasets.sound import peak_dbfs
from coavt_mm.datasets.transforms import LoadAudio
from coavt_mm.errors import ClipError, ConfigError


def row(path, start=0.0, end=None):
    return dict(audio_path=path and str(path), start=start, end=end)


@pytest.fixture(scope='module')
def ramp(tmp_path_factory):
    """A sound of 4 s whose level says the time: sample / rate / 10."""
    path = tmp_path_factory.mktemp('sound') / 'ramp.flac'
    ramp = np.arange(64000, dtype=np.float32) / np.float32(160000)
    return write_sound(path, ramp, 16000)


def begin(results):
    """Time in s at which the waveform begins."""
    return results['waveform'][0] * 10


def test_pads_and_tells_the_true_length(clip):
    results = LoadAudio(seconds=3.0)(row(clip))
    assert results['has_audio'] and results['sample_rate'] == 16000
    assert results['waveform'].shape == (48000,)
    assert results['waveform'].dtype == np.float32
    assert results['audio_samples'] == 32000
    assert not results['waveform'][32000:].any() and results['waveform'][:100].any()


@pytest.mark.parametrize('crop, expected', [('start', 1.0), ('center', 1.75)])
def test_crops(ramp, crop, expected):
    results = LoadAudio(seconds=0.5, crop=crop)(row(ramp, 1.0, 3.0))
    assert results['audio_samples'] == 8000
    assert begin(results) == pytest.approx(expected, abs=1e-3)


def test_random_crops_stay_inside(ramp):
    np.random.seed(0)
    transform = LoadAudio(seconds=0.5, crop='random')
    for end, last in ((3.0, 2.5), (None, 3.5)):
        starts = [begin(transform(row(ramp, 1.0, end))) for _ in range(30)]
        assert 1.0 <= min(starts) < 1.3 and last - 0.5 < max(starts) <= last + 1e-3


@pytest.mark.parametrize('crop', ['start', 'center', 'random'])
def test_short_sounds_are_not_moved(ramp, crop):
    results = LoadAudio(seconds=3.0, crop=crop)(row(ramp, 2.0, 4.0))
    assert results['audio_samples'] == 32000
    assert begin(results) == pytest.approx(2.0, abs=1e-3)


def test_other_rates(make_clip):
    results = LoadAudio(seconds=1.0, sample_rate=8000)(row(make_clip(channels=2)))
    assert results['waveform'].shape == (8000,)
    middle = results['waveform'][2000:6000]
    assert np.abs(np.fft.rfft(middle)).argmax() * 2 == pytest.approx(440, abs=2)


def test_silence_counts_as_no_sound_by_option(horrors):
    kept = LoadAudio()(row(horrors['silent']))
    assert kept['has_audio'] and not kept['waveform'].any()
    dropped = LoadAudio(silence_dbfs=-60.0)(row(horrors['silent']))
    assert not dropped['has_audio'] and 'waveform' not in dropped
    assert LoadAudio(silence_dbfs=-60.0)(row(horrors['rate_8k']))['has_audio']


def test_peak():
    assert peak_dbfs(tone(1000.0, 1.0, 16000)) == pytest.approx(-6.02, abs=0.1)
    assert peak_dbfs(np.zeros(3)) == peak_dbfs(np.zeros(0)) == -np.inf


def test_no_sound(horrors):
    for path in (horrors['no_sound'], None):
        results = LoadAudio()(row(path))
        assert results['has_audio'] is False and results['audio_samples'] == 0


def test_damage_is_a_clip_error(horrors):
    with pytest.raises(ClipError, match='breaks off at 1.92 s'):
        LoadAudio()(row(horrors['truncated_mkv']))


def test_bad_options_are_errors():
    with pytest.raises(ConfigError, match='center'):
        LoadAudio(crop='centre')
    with pytest.raises(TypeError):
        LoadAudio(second=3)
