"""Pictures out of decoded frames; tests/test_datasets/test_decoding.py has the rest."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from coavt_mm.datasets import frames


def decoded(width, height, kind='yuv420p', space=Colorspace.ITU601, wide=False):
    """A frame of noise as a decoder gives it."""
    rng = np.random.default_rng(width)
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, 'rgb24').reformat(format=kind)
    frame.colorspace = space
    frame.color_range = ColorRange.JPEG if wide else ColorRange.MPEG
    return frame


def alone(frame, width, height):
    """The slow version: a converter for this frame alone, with threads."""
    kind = dict(format='rgb24', interpolation='BICUBIC')
    return frame.to_ndarray(width=width, height=height, **kind)


@pytest.mark.parametrize('pixel', [None, Fraction(4, 3), Fraction(1, 2)])
def test_frames_of_all_kinds_share_a_converter(pixel):
    converter = VideoReformatter()
    kinds = [
        decoded(64, 48),
        decoded(34, 50),  # the size changes within a file
        decoded(64, 48, space=Colorspace.ITU709),
        decoded(64, 48, space=Colorspace.ITU709, wide=True),
        decoded(64, 48, wide=True),
        decoded(62, 48, 'yuv444p10le'),
        decoded(62, 48, 'gray'),
        decoded(61, 47, 'rgb24'),
        decoded(64, 48),
    ]
    images = [frames._image(frame, pixel, converter) for frame in kinds]
    for frame, image in zip(kinds, images, strict=True):
        width, height = frames._shown_size(frame.width, frame.height, pixel)
        assert np.array_equal(image, alone(frame, width, height))
        assert image.flags.c_contiguous and image.flags.writeable
    assert np.array_equal(images[0], images[-1])
    assert not np.array_equal(images[0], images[3])  # the colours were looked at


@pytest.mark.parametrize('kind', ['rgb24', 'yuv420p'])
def test_a_frame_that_is_shown_twice_is_two_arrays(kind):
    converter, frame = VideoReformatter(), decoded(64, 48, kind)
    one, two = (frames._image(frame, None, converter) for _ in range(2))
    assert np.array_equal(one, two)
    one[:] = 0
    assert two.any()
