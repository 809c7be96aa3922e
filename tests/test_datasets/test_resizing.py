"""Scaling held against Pillow's and torchvision's."""

import warnings

import numpy as np
import pytest
import torchvision.transforms as T
from pictures import natural_picture
from PIL import Image

from coavt_mm.datasets.resizing import centre_box, fitted_size, resize

PILLOW = {'bicubic': Image.BICUBIC, 'bilinear': Image.BILINEAR}
SIZES = [
    (720, 1280),
    (360, 640),
    (640, 360),
    (427, 500),
    (144, 256),
    (37, 65),
    (590, 270),
]


def pillow(image, size, interpolation='bicubic'):
    return np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[interpolation]))


def levels(one, other):
    """Absolute differences in grey levels."""
    return np.abs(one.astype(int) - other)


def checkers(kind, size):
    """Pictures that bring bad scaling to light."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    if kind == 'stripes':
        image[::3] = 255
    elif kind == 'board':
        image[(np.arange(height)[:, None] + np.arange(width)) % 2 == 0] = 255
    elif kind == 'noise':
        image[:] = np.random.default_rng(0).integers(0, 256, image.shape)
    else:
        image[:] = natural_picture(height, width)
    return image


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('kind', ['stripes', 'board', 'noise', 'natural'])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_equals_pillow(size, kind, interpolation):
    image = checkers(kind, size)
    for wanted in (fitted_size(*size, 224), (32, 57)):
        found = resize(image, wanted, interpolation)
        assert found.shape == (*wanted, 3) and found.dtype == np.uint8
        assert found.flags.c_contiguous
        apart = levels(found, pillow(image, wanted, interpolation))
        assert apart.max() <= (2 if kind == 'noise' else 1)
        assert (apart > 1).mean() < 1e-4


@pytest.mark.parametrize(
    'size, wanted',
    [((539, 241), (500, 224)), ((1, 30), (7, 210)), ((30, 1), (210, 7)),
     ((1, 1), (9, 9)), ((60, 40), (30, 35)), ((17, 90), (12, 90))],
)  # fmt: skip
def test_equals_pillow_in_strange_shapes(size, wanted):
    coarse = np.random.default_rng(0).integers(0, 256, (-(-size[0] // 7), 9, 3))
    image = pillow(coarse.astype(np.uint8), size)  # with saturated colours
    assert levels(resize(image, wanted), pillow(image, wanted)).max() <= 1


def test_stripes_become_grey():
    image = checkers('stripes', (720, 1280))
    assert resize(image, (224, 398)).std() < 2  # OpenCV's bicubic: 96


@pytest.mark.parametrize(
    'view',
    [
        lambda image: image[::-1, ::-1],
        lambda image: image[5:, 7:, :],
        lambda image: image[..., ::-1],
        lambda image: np.asfortranarray(image),
        lambda image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape),
    ],
)
def test_any_layout_in_memory(view):
    image = view(natural_picture(90, 120))
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # torch warns of what can't be written
        found = resize(image, (40, 50))
    expected = pillow(np.ascontiguousarray(image), (40, 50))
    assert levels(found, expected).max() <= 1
    assert np.array_equal(image, before)


def test_the_right_size_stays_as_it_is():
    image = natural_picture(30, 40)
    assert resize(image, [30, 40]) is image


@pytest.mark.parametrize('short_side', [224, 256, 7])
def test_sizes_are_those_of_torchvision(short_side):
    rng = np.random.default_rng(0)
    drawn = rng.integers(50, 999, (60, 2)).tolist()
    for height, width in [*SIZES, (1080, 1920), (240, 320), (480, 854), *drawn]:
        expected = T.Resize(short_side)(Image.new('L', (width, height))).size[::-1]
        assert fitted_size(height, width, short_side) == expected


def test_sizes_with_a_limit_are_those_of_torchvision():
    for height, width in [*SIZES, (30, 400)]:
        expected = T.Resize(224, max_size=300)(Image.new('L', (width, height))).size
        assert fitted_size(height, width, 224, 300) == expected[::-1]


def test_crops_are_those_of_torchvision():
    for height, width in [(224, 399), (358, 636), (225, 226), (224, 224), (301, 224)]:
        image = np.arange(height * width, dtype=np.int32).reshape(height, width)
        expected = np.asarray(T.CenterCrop(224)(Image.fromarray(image)))
        top, left = centre_box(height, width, (224, 224))
        assert np.array_equal(image[top : top + 224, left : left + 224], expected)
