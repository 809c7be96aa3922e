"""Still and moving pictures in files of their own, as clips without sound."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from media_files import write_rows
from PIL import Image, features
from strange_media import write_strange

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.decoding import backend_order, read_audio, read_frames
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError
from coavt_mm.preparation.checking import Task, check_clip

SIZE = (40, 30)  # width, height


def picture(mode):
    """A picture of one colour, and how it is seen as RGB."""
    colours = {
        'RGB': ((200, 100, 50), (200, 100, 50)),
        'RGBA': ((200, 100, 50, 255), (200, 100, 50)),
        'L': (120, (120, 120, 120)),
        'LA': ((120, 255), (120, 120, 120)),
        'CMYK': ((0, 255, 255, 0), (255, 0, 0)),
        '1': (1, (255, 255, 255)),
    }
    if mode == 'P':
        image = Image.new('RGB', SIZE, (200, 100, 50)).quantize(4)
        return image, (200, 100, 50)
    if mode == 'I;16':
        grey = np.full(SIZE[::-1], 120 * 257, np.uint16)
        return Image.fromarray(grey), (120, 120, 120)
    colour, seen = colours[mode]
    return Image.new(mode, SIZE, colour), seen


CASES = [('png', m) for m in ('RGB', 'RGBA', 'L', 'LA', 'P', '1', 'I;16')]
CASES += [('jpg', m) for m in ('RGB', 'L', 'CMYK')]
CASES += [('webp', m) for m in ('RGB', 'RGBA')] + [('gif', 'P'), ('bmp', 'RGB')]
CASES += [('avif', 'RGB')] if features.check('avif') else []


@pytest.fixture
def still(tmp_path):
    path = tmp_path / 'x.png'
    picture('RGB')[0].save(path)
    return path


@pytest.mark.parametrize('kind, mode', CASES)
def test_each_kind_is_one_frame(tmp_path, kind, mode):
    image, seen = picture(mode)
    path = tmp_path / f'x.{kind}'
    image.save(path)
    for source in (path, path.read_bytes()):
        info = probe(source)
        assert info.is_still and not info.has_audio
        images, begins = read_frames(source, [0.0, 5.0])
        assert begins == [0.0, 0.0]
        for found in images:
            assert found.shape == (30, 40, 3) and found.dtype == np.uint8
            assert np.abs(found.astype(int) - seen).max() <= 6
        images[0][:] = 0  # transforms work in place
        assert images[1].any()
        assert read_audio(source) is None


@pytest.mark.parametrize('backend', backend_order('pyav'))
def test_all_back_ends_take_them(still, backend):
    (image,), _ = read_frames(still, [0.0], backend)
    assert image.shape == (30, 40, 3)


def test_a_photo_stands_upright(tmp_path):
    """A phone keeps a photo as its sensor saw it, and says how it was held."""
    image = Image.new('RGB', SIZE, (0, 0, 0))
    image.paste((255, 0, 0), (0, 0, 20, 15))  # top left
    about = Image.Exif()
    about[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / 'x.jpg', exif=about, quality=95)
    (found,), _ = read_frames(tmp_path / 'x.jpg', [0.0])
    assert found.shape == (40, 30, 3)
    assert found[5, 25, 0] > 200 and found[35, 5, 0] < 50  # now top right


def test_moving_pictures_have_times(tmp_path):
    frames = [Image.new('RGB', SIZE, (50 * i, 0, 0)) for i in range(5)]
    kinds = ['gif', 'webp', 'png'] + ['avif'] * features.check('avif')
    for name in (f'x.{kind}' for kind in kinds):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], duration=200
        )
        info = probe(tmp_path / name)
        assert info.video_end == pytest.approx(1.0) and not info.is_still
        images, begins = read_frames(tmp_path / name, [0.1, 0.5, 0.95])
        assert np.allclose(begins, [0.0, 0.4, 0.8])
        for image, level in zip(images, (0, 100, 200), strict=True):
            assert abs(int(image[5, 5, 0]) - level) < 12


@pytest.mark.parametrize('kind', ['MPO', 'TIFF'])
def test_what_lies_behind_a_photo_is_not_shown(tmp_path, kind):
    """Cameras put previews and depths behind it, scanners further pages."""
    others = [Image.new('RGB', (20, 15)), Image.new('RGB', SIZE)]
    photo = Image.new('RGB', SIZE, (200, 100, 50))
    photo.save(tmp_path / 'x', kind, save_all=True, append_images=others)
    assert probe(tmp_path / 'x').is_still
    images, begins = read_frames(tmp_path / 'x', [0.0, 0.15, 7.0])
    assert begins == [0.0] * 3
    for image in images:
        assert image.shape == (30, 40, 3) and abs(int(image[5, 5, 0]) - 200) < 6


def test_no_browser_follows_ten_milliseconds(tmp_path):
    frames = [Image.new('RGB', SIZE, (50 * i, 0, 0)) for i in range(5)]
    more = dict(save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / 'x.gif', duration=10, **more)
    frames[0].save(tmp_path / 'y.gif', duration=20, **more)
    assert probe(tmp_path / 'x.gif').video_end == pytest.approx(0.5)
    assert probe(tmp_path / 'y.gif').video_end == pytest.approx(0.1)


HEIC = b'\0\0\0\x18ftypmif1\0\0\0\0mif1heic' + bytes(200)


def test_a_photo_of_a_telephone_names_what_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    for ask in (probe, lambda content: read_frames(content, [0.0])):
        with pytest.raises(ClipError, match='HEIC picture: install pillow-heif'):
            ask(HEIC)
    asked = []
    reader = SimpleNamespace(register_heif_opener=lambda: asked.append(1))
    monkeypatch.setitem(sys.modules, 'pillow_heif', reader)
    with pytest.raises(ClipError, match='cannot identify image'):  # by Pillow
        probe(HEIC)
    assert asked


@pytest.mark.skipif(not features.check('avif'), reason='Pillow has no AVIF')
def test_an_avif_under_its_general_name(tmp_path):
    Image.new('RGB', SIZE, (200, 100, 50)).save(tmp_path / 'x.avif')
    content = (tmp_path / 'x.avif').read_bytes()
    assert content[8:12] == b'avif'
    info = probe(content[:8] + b'mif1' + content[12:])
    assert info.is_still


def test_damage_is_named(tmp_path, still):
    path = tmp_path / 'cut.png'
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (200, 200, 3), np.uint8))
    noise.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ClipError, match=r'cut\.png'):
        read_frames(path, [0.0])


def test_a_picture_too_large_is_refused(tmp_path, monkeypatch, still):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    with pytest.raises(ClipError, match=r'x\.png.*(pixels|exceeds)'):
        read_frames(still, [0.0])


def test_a_picture_trains_and_tests(tmp_path, still):
    """Through the data set, with and without a sound of its own."""
    sound = write_strange(tmp_path / 's.m4a', 'mp4', video=None)
    rows = [
        dict(id='alone', clip=str(still)),
        dict(id='late', clip=str(still), audio=str(sound), start=1.0, end=2.0),
    ]
    load = [dict(type='LoadFrames', num_frames=4, pick='all')]
    load += [dict(type='LoadAudio', seconds=1.0), dict(type='PackAVTInputs')]
    dataset = AVTDataset(
        str(write_rows(tmp_path / 'm.jsonl', rows)), pipeline=load, test_mode=True
    )
    alone, late = (sample['data_samples'] for sample in dataset)
    assert alone.has_visual and not alone.has_audio
    assert late.has_visual and late.has_audio
    assert dataset[1]['inputs']['frames'].shape[0] == 4


def test_preparation_takes_a_picture(tmp_path, still):
    found = check_clip(Task(str(still), None))
    assert found['problems'] == ['no_sound'] and found['seconds'] == 0.0


def test_names_that_mean_many_files(tmp_path):
    """FFmpeg takes 'x%d.png' for a row of files."""
    Image.new('RGB', SIZE, (200, 0, 0)).save(tmp_path / 'x%d.png')
    Image.new('RGB', SIZE, (0, 200, 0)).save(tmp_path / 'x1.png')
    loaded = LoadFrames(1, 0)(
        dict(clip_path=str(tmp_path / 'x%d.png'), start=0.0, end=None)
    )
    assert loaded['imgs'][0][0, 0].tolist() == [200, 0, 0]
    sound = LoadAudio()(dict(audio_path=str(tmp_path / 'x1.png'), start=0.0, end=None))
    assert not sound['has_audio']


def test_bytes_of_a_picture(still):
    buffer = io.BytesIO(still.read_bytes())
    assert probe(buffer.getvalue()).has_video


def test_moving_pictures_in_the_wrong_order(tmp_path):
    frames = [Image.new('RGB', SIZE, (40 * i, 0, 0)) for i in range(4)]
    path = tmp_path / 'x.png'
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    content = path.read_bytes()
    place = content.rindex(b'fcTL')  # its number follows; Pillow checks no sum here
    path.write_bytes(content[: place - 4] + content[place - 4 :].replace(
        content[place - 4 : place + 34], b'\0\0\0\x04fcTL\0\0\0\0\0\0\0\0'
    ))  # fmt: skip
    with pytest.raises(ClipError, match='x.png'):
        read_frames(path, [0.35])
    with pytest.raises(ClipError, match='x.png'):
        probe(path)
