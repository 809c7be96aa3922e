"""Frames from clips, from shards and through the API are the same pictures."""

from pathlib import Path

import av
import numpy as np
import pytest
import torchvision.transforms as T
from mmengine.config import Config
from pictures import natural_picture
from PIL import Image

from coavt_mm.apis.pipeline import FitFrames
from coavt_mm.datasets.shards.archive import unpack_piece
from coavt_mm.datasets.sources import ShardSource
from coavt_mm.datasets.transforms import (
    JPEG,
    CenterCrop,
    IfVisual,
    LoadFrames,
    Resize,
)
from coavt_mm.errors import ConfigError
from coavt_mm.preparation.shards import Settings, pack_clip

DATASETS = Path(__file__).parents[3] / 'configs/_base_/datasets'


def of(*images):
    return dict(imgs=list(images), has_visual=True)


def torchvision(image, side=224):
    """torchvision's transforms of CAV-MAE and others, on Pillow's picture."""
    chain = T.Compose(
        [T.Resize(side, interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop(side)]
    )
    return np.asarray(chain(Image.fromarray(image)))


def apart(one, other):
    """Mean distance in grey levels."""
    return np.abs(one.astype(int) - other).mean()


@pytest.fixture(scope='module', params=[(640, 360), (1280, 720), (408, 720)], ids=str)
def film(request, tmp_path_factory):
    """A clip of two frames that have the detail of photographs."""
    width, height = request.param
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('h264', rate=2)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        stream.options = {'preset': 'ultrafast', 'crf': '18'}
        for seed in range(2):
            picture = natural_picture(height, width, seed)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize('base', ['vggsound', 'audiocaps'])
def test_the_configs_give_the_pictures_of_torchvision(base):
    step = Config.fromfile(DATASETS / f'{base}.py').test_pipeline[1]
    fit = IfVisual(step['transforms'])
    for height, width in [(360, 640), (358, 636), (224, 399), (300, 225), (144, 256)]:
        image = natural_picture(height, width)
        found = fit(of(image, image[::-1]))
        expected = torchvision(image)
        assert found['img_shape'] == found['imgs'][0].shape[:2] == (224, 224)
        assert np.abs(found['imgs'][0].astype(int) - expected).max() <= 2
        assert apart(found['imgs'][0], expected) < 0.1
        assert apart(found['imgs'][1], torchvision(image[::-1].copy())) < 0.1


def test_a_clip_and_its_shard_give_the_same_pictures(film):
    row = dict(clip_path=str(film), audio_path=str(film), start=0.0, end=None,
               sample_id='film', captions=['x'], audio_captions=[],
               visual_captions=[], labels=[])  # fmt: skip
    piece, about = pack_clip(row, 'k', '', Settings(num_frames=2))
    source = ShardSource(unpack_piece(piece), about['frame_times'], 0.0)
    fit = IfVisual(
        Config.fromfile(DATASETS / 'vggsound.py').test_pipeline[1].transforms
    )
    raw = fit(LoadFrames(2, 'all')(row))['imgs']
    stored = fit(LoadFrames(2, 'all')(dict(row, picture=source)))['imgs']
    for one, other in zip(raw, stored, strict=True):
        assert apart(one, other) < 2
    given = FitFrames(224)(LoadFrames(2, 'all')(row))['imgs']
    assert all(map(np.array_equal, raw, given))


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(scale=(-1, 30)), (30, 40)),
        (dict(scale=(30, -1)), (30, 40)),
        (dict(scale=(30, 30)), (22, 30)),
        (dict(scale=(400, 30)), (30, 40)),
        (dict(scale=(50, 20), keep_ratio=False), (20, 50)),
    ],
)
def test_sizes(options, expected):
    found = Resize(**options)(of(natural_picture(60, 80)))
    assert found['imgs'][0].shape == (*expected, 3) and found['img_shape'] == expected


@pytest.mark.parametrize(
    'options',
    [
        dict(scale=(-1, -1)),
        dict(scale=(-1, 0)),
        dict(scale=(-2, 30)),
        dict(scale=(30,)),
        dict(scale=(30.0, 20)),
        dict(scale=(-1, 30), keep_ratio=False),
    ],
)
def test_scales_that_make_no_sense(options):
    with pytest.raises(ConfigError, match='neither'):
        Resize(**options)


def test_other_arguments_that_make_no_sense():
    with pytest.raises(ConfigError, match="'area' is none of bicubic, bilinear"):
        Resize(scale=(-1, 30), interpolation='area')
    for crop_size in (0, (4, 4, 4), (4, -1), 2.5):
        with pytest.raises(ConfigError, match='crop_size'):
            CenterCrop(crop_size)
    with pytest.raises(ConfigError, match='a frame has 5 x 9'):
        CenterCrop(6)(of(np.zeros((5, 9, 3), np.uint8)))
    with pytest.raises(ConfigError, match='quality'):
        JPEG(0)


def test_crop_of_two_sides():
    image = natural_picture(30, 41)
    found = CenterCrop((11, 20))(of(image))
    assert np.array_equal(found['imgs'][0], image[5:25, 15:26])
    assert found['img_shape'] == (20, 11)


def test_the_chain_of_cavmae(tmp_path):
    """Its extraction: Resize (bilinear), CenterCrop, save_image as JPEG. The distance
    of our own pictures stands in docs/fidelity.md."""
    image = natural_picture(720, 1280)
    crop = T.Compose([T.Resize(224), T.CenterCrop(224)])(Image.fromarray(image))
    crop.save(tmp_path / 'frame.jpg')
    expected = np.asarray(Image.open(tmp_path / 'frame.jpg'))
    chain = Config.fromfile(DATASETS / 'cavmae_clips.py').cavmae_clips[1]
    assert apart(IfVisual(chain.transforms)(of(image))['imgs'][0], expected) < 0.2
    assert 2.5 < apart(FitFrames(224)(of(image))['imgs'][0], expected) < 3.5
