import av
import cv2
import decord
import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from coavt_mm.demo import rendering
from coavt_mm.demo.grammar import FACTORS
from coavt_mm.demo.rendering import (
    draw_frames,
    play_sound,
    write_clip,
)

RATE, SECONDS = 16000, 2.56


def _random_values(number, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {name: str(rng.choice(list(FACTORS[name]))) for name in FACTORS}
        for _ in range(number)
    ]


def _decode_sound(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)[0]


def _log_mel(wave):
    spectrogram = kaldi.fbank(
        torch.from_numpy(wave)[None],
        htk_compat=True,
        window_type='hanning',
        num_mel_bins=128,
        sample_frequency=RATE,
    )
    return spectrogram.numpy()


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Render 72 clips; return their values, middle frames and log-mels."""
    folder = tmp_path_factory.mktemp('clips')
    values = _random_values(72)
    pictures, spectrograms = [], []
    for i, value in enumerate(values):
        rng = np.random.default_rng(i)
        path = folder / f'{i}.mp4'
        frames = draw_frames(value, 7, 10, 96, rng)
        write_clip(path, frames, 10, play_sound(value, SECONDS, RATE, rng), RATE)
        pictures.append(decord.VideoReader(str(path))[3].asnumpy().astype(int))
        spectrograms.append(_log_mel(_decode_sound(path)))
    return values, pictures, spectrograms


def _coloured(picture):
    """Mask of the shape: the pixels that are not grey."""
    return picture.max(2) - picture.min(2) > 70


def test_decoders_read_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    values = _random_values(1)[0]
    frames = draw_frames(values, 26, 10, 96, rng)
    wave = play_sound(values, SECONDS, RATE, rng)
    path = tmp_path / 'clip.mp4'
    write_clip(path, frames, 10, wave, RATE)
    reader = decord.VideoReader(str(path))
    assert len(reader) == 26 and reader.get_avg_fps() == pytest.approx(10)
    assert reader.get_key_indices() == [0, 10, 20]
    error = np.abs(reader[25].asnumpy().astype(int) - frames[25])
    assert error.mean() < 4
    sound = _decode_sound(path)
    assert len(sound) == len(wave) == round(SECONDS * RATE)
    # in step: no delay of the codec is left
    assert np.corrcoef(sound, wave)[0, 1] > 0.9
    assert [p.name for p in tmp_path.iterdir()] == ['clip.mp4']


@pytest.mark.parametrize('size, fps, rate', [(34, 5, 32000), (130, 25, 48000)])
def test_other_sizes_and_rates(tmp_path, size, fps, rate):
    rng = np.random.default_rng(1)
    values = _random_values(1)[0]
    path = tmp_path / 'clip.mp4'
    wave = play_sound(values, 1.1, rate, rng)
    write_clip(path, draw_frames(values, 2, fps, size, rng), fps, wave, rate)
    assert decord.VideoReader(str(path))[1].shape == (size, size, 3)
    assert len(_decode_sound(path)) >= round(1.1 * rate)


def test_nothing_is_left_of_a_clip_that_failed(tmp_path):
    odd = [np.zeros((33, 33, 3), np.uint8)]
    with pytest.raises(av.error.FFmpegError):
        write_clip(tmp_path / 'clip.mp4', odd, 10, np.zeros(100, np.float32), RATE)
    assert list(tmp_path.iterdir()) == []


def test_same_seed_same_clip():
    values = _random_values(1)[0]
    first, second, third = (
        (
            np.stack(draw_frames(values, 3, 10, 48, np.random.default_rng(seed))),
            play_sound(values, 1.0, RATE, np.random.default_rng(seed)),
        )
        for seed in (7, 7, 8)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, third, strict=True))


def test_shape_moves_and_stays_at_its_place():
    for value in _random_values(40, seed=1):
        frames = draw_frames(value, 26, 10, 96, np.random.default_rng(0))
        centres = [np.argwhere(_coloured(f.astype(int))).mean(0) for f in frames]
        row, column = np.array(centres).T
        assert (
            (row < 48).all() if value['place'].startswith('top') else (row > 48).all()
        )
        assert (column < 48).all() == value['place'].endswith('left')
        assert np.ptp(row) + np.ptp(column) > 1.5


def test_a_single_decoded_frame_tells_colour_place_and_ground(clips):
    names = list(rendering.COLOURS)
    colours = np.array(list(rendering.COLOURS.values()))
    for value, picture, _ in zip(*clips, strict=True):
        mask = _coloured(picture)
        mean = np.median(picture[mask], axis=0)
        # the shade varies: compare directions from grey
        hues = colours - colours.mean(1, keepdims=True)
        hue = mean - mean.mean()
        cosine = hues @ hue / np.linalg.norm(hues, axis=1)
        assert names[cosine.argmax()] == value['colour']
        row, column = np.argwhere(mask).mean(0)
        place = ('top' if row < 48 else 'bottom') + ' '
        assert place + ('left' if column < 48 else 'right') == value['place']
        light = np.median(picture[~mask]) > 128
        assert value['ground'] == ('light ground' if light else 'dark ground')


def _shape_features(mask):
    """Return area, hole and solidity, none of which depends on size or place."""
    mask = mask.astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    full = cv2.contourArea(outline)
    hull = cv2.contourArea(cv2.convexHull(outline))
    circle = np.pi * cv2.minEnclosingCircle(outline)[1] ** 2
    box = np.prod(cv2.minAreaRect(outline)[1])
    return mask.sum() / hull, full / hull, full / circle, full / box


def test_a_single_decoded_frame_tells_the_shape(clips):
    values, pictures, _ = clips
    features = np.array([_shape_features(_coloured(p)) for p in pictures])
    names = np.array([value['shape'] for value in values])
    half = len(names) // 2
    centroids = {n: features[:half][names[:half] == n].mean(0) for n in set(names)}
    found = [
        min(centroids, key=lambda name: np.abs(centroids[name] - row).sum())
        for row in features[half:]
    ]
    assert np.mean(np.array(found) == names[half:]) > 0.9


def _note_track(spectrogram):
    """Return where notes sound, and the strongest mel bin there."""
    # the background noise is even in time: what is above it is a note
    level = (spectrogram - np.percentile(spectrogram, 10, axis=0)).max(1)
    return level > level.max() - 4, spectrogram.argmax(1)


def test_log_mel_tells_the_count(clips):
    for value, _, spectrogram in zip(*clips, strict=True):
        if value['timbre'] == 'buzzer':  # silent between its own pulses
            continue
        loud, _ = _note_track(spectrogram)
        gaps = np.diff(np.flatnonzero(loud))
        assert 1 + (gaps > 8).sum() == rendering.COUNTS[value['count']]


def test_log_mel_tells_the_contour():
    for contour in FACTORS['contour']:
        for count in FACTORS['count']:
            value = {'timbre': 'flute', 'contour': contour, 'count': count}
            rng = np.random.default_rng(0)
            spectrogram = _log_mel(play_sound(value, SECONDS, RATE, rng))
            loud, track = _note_track(spectrogram)
            first = np.flatnonzero(loud)
            first = first[: np.argmax(np.diff(first, append=999) > 1) + 1][3:-3]
            way = track[first[-1]] - track[first[0]]
            turns = np.abs(np.diff(np.sign(np.diff(track[first])))).sum()
            found = {
                'rising': way > 6,
                'falling': way < -6,
                'steady': np.ptp(track[first]) <= 1,
                'wobbling': abs(way) <= 6 and turns >= 4,
            }
            assert [name for name, fits in found.items() if fits] == [contour]


def test_log_mel_tells_the_timbre(clips):
    values, _, spectrograms = clips
    # mean spectrum of the loud frames, and how fast loudness comes and goes
    features = []
    for spectrogram in spectrograms:
        loud, _ = _note_track(spectrogram)
        spectrum = spectrogram[loud].mean(0)
        flutter = np.abs(np.diff(spectrogram.max(1)[loud])).mean()
        features.append([*(spectrum - spectrum.mean()), 10 * flutter])
    features = np.array(features)
    names = np.array([value['timbre'] for value in values])
    half = len(names) // 2
    centroids = {n: features[:half][names[:half] == n].mean(0) for n in set(names)}
    found = [
        min(centroids, key=lambda name: np.square(centroids[name] - row).sum())
        for row in features[half:]
    ]
    assert np.mean(np.array(found) == names[half:]) > 0.8
