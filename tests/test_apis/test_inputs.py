"""Whatever form a clip comes in, the answer is the same."""

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from coavt_mm.apis import embed, retrieve
from coavt_mm.apis.inputs import as_clips, as_texts, check_number, is_clip
from coavt_mm.apis.windows import spans
from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.errors import ClipError, InputError


def features(coavt, *args, **options):
    clips = embed(*args, model=coavt, **options)['clips']
    return [window['embeddings'] for clip in clips for window in clip['windows']]


def same(left, right, atol=0.0):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for stream in one:
            np.testing.assert_allclose(one[stream], other[stream], atol=atol)


@pytest.fixture
def stored(short):
    """The short clip in a store that fsspec reads, in a folder of its own."""
    store = fsspec.filesystem('memory')
    store.pipe('/films/short.mp4', short.read_bytes())
    store.pipe('/films/readme.txt', b'no film')
    yield 'memory://films'
    store.rm('/films', recursive=True)


def test_path_bytes_and_address_agree(coavt, short, stored):
    wanted = features(coavt, short)
    same(features(coavt, str(short)), wanted)
    same(features(coavt, short.read_bytes()), wanted)
    same(features(coavt, f'{stored}/short.mp4'), wanted)
    same(features(coavt, stored), wanted)  # a folder, and one film in it
    same(features(coavt, f'file://{short}'), wanted)
    same(features(coavt, {'video': short, 'audio': str(short)}), wanted)


def test_arrays_and_tensors_agree_with_the_file(coavt, make_clip):
    clip = make_clip(seconds=2.0)
    fps, rate = 10, 16000
    frames = np.stack(read_frames(clip, [(i + 0.5) / fps for i in range(20)])[0])
    wave = read_audio(clip)
    wanted = features(coavt, clip)
    assert len(wanted) == 4
    decoded = {'video': frames, 'audio': (wave, rate), 'fps': fps}
    # a file's sound is decoded anew for each window: codecs settle a little differently
    same(features(coavt, decoded), wanted, atol=1e-4)
    tensors = {
        'video': torch.from_numpy(frames),
        'audio': (torch.from_numpy(wave)[None].repeat(2, 1), rate),
        'fps': torch.tensor(10.0).item(),
    }
    same(features(coavt, tensors), features(coavt, decoded), atol=1e-6)
    without_fps = {'video': frames, 'audio': (wave, rate)}  # spread over the sound
    same(features(coavt, without_fps), features(coavt, decoded), atol=1e-6)


def test_frames_alone_without_a_rate_are_one_window(coavt):
    frames = np.random.default_rng(0).integers(0, 255, (90, 32, 32, 3), np.uint8)
    assert len(features(coavt, frames)) == 1
    assert len(features(coavt, {'video': frames, 'fps': 30.0})) == 6  # 3 s
    assert len(features(coavt, frames[:1])) == 1


def test_a_sound_of_another_rate_is_resampled(coavt, make_clip):
    time = np.arange(24000) / 48000
    wave = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float64)
    own = features(coavt, audio=(wave[::3], 16000))
    same(features(coavt, audio=(wave, 48000)), own, atol=0.05)


def test_an_mp3_states_no_length_and_is_cut_all_the_same(coavt, make_clip):
    long = make_clip('.mp3', seconds=1.4, picture=False, codec='mp3')
    clip = embed(audio=long, model=coavt)['clips'][0]
    assert [window['start'] for window in clip['windows']] == [0, 0.5, 1.0]
    short = make_clip('.mp3', seconds=0.4, picture=False, codec='mp3')
    assert len(features(coavt, audio=short)) == 1


def test_folders(coavt, short, tmp_path):
    for name in ('b.mp4', 'a.MP4', 'notes.txt'):
        (tmp_path / name).write_bytes(short.read_bytes())
    clips = embed(tmp_path, model=coavt)['clips']
    assert [clip['clip'] for clip in clips] == [
        str(tmp_path / name) for name in ('a.MP4', 'b.mp4')
    ]
    hits = retrieve('the dog', str(tmp_path), model=coavt)[0]['hits']
    assert len(hits) == 2
    sounds = tmp_path / 'sounds'
    sounds.mkdir()
    with pytest.raises(InputError, match='sounds: the folder has no media file'):
        embed(sounds, model=coavt)
    for name in ('a.wav', 'c.wav'):
        (sounds / name).write_bytes(short.read_bytes())
    with pytest.raises(InputError, match='the folders hold different names'):
        embed(tmp_path, sounds, model=coavt)
    (sounds / 'c.wav').rename(sounds / 'b.wav')
    assert len(embed(tmp_path, sounds, model=coavt)['clips']) == 2


def test_a_store_that_breaks_is_named(coavt, monkeypatch):
    store = fsspec.filesystem('memory')
    store.pipe('/broken.mp4', b'')
    with pytest.raises(ClipError, match='memory://broken.mp4: can not be read.*empty'):
        embed('memory://broken.mp4', model=coavt)
    store.pipe('/broken.mp4', b'no film')
    with pytest.raises(ClipError, match='memory://broken.mp4'):
        embed('memory://broken.mp4', model=coavt)
    store.rm('/broken.mp4')


@pytest.mark.parametrize(
    ('length', 'count', 'last_start'),
    [(0.3, 1, 0), (0.5, 1, 0), (0.52, 1, 0), (0.56, 2, 0.06), (1.0, 2, 0.5),
     (1.02, 2, 0.5), (1.3, 3, 1.0)],
)  # fmt: skip
def test_windows_cover_the_clip(length, count, last_start):
    wave = np.ones(round(16000 * length), np.float32)
    (clip,) = as_clips(audio=(wave, 16000))
    found = list(spans(clip, 0.5, 16000, True))
    assert len(found) == count
    assert found[-1].start == pytest.approx(last_start)
    assert found[-1].end == pytest.approx(length, abs=1e-4)
    assert found[-1].share == 1
    assert found[-1].row['end'] is None  # as far as the clip goes
    (whole,) = spans(clip, 0.5, 16000, False)
    assert (whole.start, whole.row['end']) == (0, None)


def test_a_span_is_cut_out(coavt, make_clip):
    clip = make_clip(seconds=2.0)
    middle = features(coavt, {'video': clip, 'start': 0.5, 'end': 1.0})
    same(middle, features(coavt, clip)[1:2], atol=1e-6)


def test_texts_clips_and_numbers_are_told_apart(tmp_path):
    film = tmp_path / 'x.bin'
    film.write_bytes(b'1')
    assert is_clip(str(film)) and is_clip('gone.MP4') and is_clip('s3://a/b')
    assert is_clip(b'bytes') and not is_clip('a dog barks .')
    assert as_texts('a') == ['a'] and as_texts(('a', 'b')) == ['a', 'b']
    for value in (0, 1.5, '1', True, None):
        with pytest.raises(InputError, match='topk must be a whole number of 1'):
            check_number('topk', value, 1)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_a_still_picture_is_a_clip_without_sound(coavt, tmp_path, suffix):
    path = tmp_path / f'still{suffix}'
    Image.new('RGB', (40, 30), (200, 30, 60)).save(path)
    for given in (path, str(path), path.read_bytes(), [path]):
        (clip,) = embed(given, model=coavt)['clips']
        assert clip['streams'] == ['V'] and len(clip['windows']) == 1
    with pytest.raises(InputError, match='named one by one'):
        embed(tmp_path, model=coavt)
    hit = retrieve('dog', [str(path)], model=coavt)[0]['hits'][0]
    assert hit['stream'] == 'V' and hit['candidate'] == str(path)
