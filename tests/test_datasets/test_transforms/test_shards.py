import numpy as np
import pytest
from media_files import tone

from coavt_mm.datasets.shards.archive import pack_sample, unpack_piece
from coavt_mm.datasets.sources import ShardSource
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ConfigError


def opened(frames=4, samples=32000, codec='flac', level=1.0):
    """A row with a sample of grey frames 0, 20, ... and a tone, as the set opens it."""
    images = [np.full((24, 32, 3), 20 * i, np.uint8) for i in range(frames)]
    waveform = level * tone(440.0, samples / 16000, 16000) if samples else None
    piece = pack_sample(
        'k', {}, images, waveform, sample_rate=16000, quality=95, codec=codec
    )
    times = [0.25 + 0.5 * i for i in range(frames)]
    source = ShardSource(unpack_piece(piece), times, samples / 16000)
    return dict(picture=source, sound=source, start=30.0, end=40.0)


@pytest.mark.parametrize('pick, index', [('middle', 2), (0, 0), (3, 3)])
def test_one_frame(pick, index):
    result = LoadFrames(4, pick).transform(opened())
    assert result['has_visual'] and result['frame_times'] == [0.25 + 0.5 * index]
    assert result['img_shape'] == (24, 32) and result['clip_len'] == 1
    assert np.abs(result['imgs'][0].astype(int) - 20 * index).max() <= 2


def test_all_frames():
    result = LoadFrames(4, 'all').transform(opened())
    assert [int(image[0, 0, 0]) // 20 for image in result['imgs']] == [0, 1, 2, 3]
    assert result['frame_times'] == [0.25, 0.75, 1.25, 1.75]


def test_another_number_of_frames_is_an_error():
    with pytest.raises(ConfigError, match='have 4 frames .* num_frames=10'):
        LoadFrames(10).transform(opened())


@pytest.mark.parametrize(
    'options', [dict(times='cavmae'), dict(sampler=dict(type='mmaction.SampleFrames',
    clip_len=1))], ids=['cavmae', 'sampler'],
)  # fmt: skip
def test_frames_that_no_shard_has_are_an_error(options):
    with pytest.raises(ConfigError, match='centres of equal parts; .* the raw files'):
        LoadFrames(**options).transform(opened())


def test_nothing_there_is_flagged():
    for row in (opened(frames=0, samples=0), dict(picture=None, sound=None)):
        row = LoadAudio().transform(LoadFrames(4).transform(row))
        assert not row['has_visual'] and not row['has_audio']
        assert 'imgs' not in row and 'waveform' not in row
        assert row['audio_samples'] == 0


@pytest.mark.parametrize('codec, tolerance', [('flac', 1e-4), ('opus', 0.08)])
def test_sound_is_cropped_and_padded(codec, tolerance):
    short = LoadAudio(seconds=3.0).transform(opened(codec=codec))
    assert short['audio_samples'] == 32000 and len(short['waveform']) == 48000
    assert not short['waveform'][32000:].any()
    assert np.abs(short['waveform'][:32000] - tone(440, 2, 16000)).max() < tolerance
    crop = LoadAudio(seconds=1.0, crop='center').transform(opened(codec=codec))
    expected = tone(440, 2, 16000)[8000:24000]
    # Opus needs some milliseconds to settle behind a cut
    assert np.abs(crop['waveform'] - expected)[1600:].max() < tolerance


def test_sound_at_another_rate():
    result = LoadAudio(seconds=2.0, sample_rate=8000).transform(opened())
    assert result['audio_samples'] == len(result['waveform']) == 16000
    spectrum = np.abs(np.fft.rfft(result['waveform']))
    assert spectrum.argmax() / 2.0 == 440.0


def test_silence_counts_as_no_sound_by_option():
    quiet = opened(level=0.0)
    assert LoadAudio().transform(dict(quiet))['has_audio']
    assert not LoadAudio(silence_dbfs=-60.0).transform(quiet)['has_audio']


def test_tiny_sounds_survive_opus():
    row = opened(samples=7, codec='opus')
    assert LoadAudio(seconds=0.1).transform(row)['audio_samples'] == 7
