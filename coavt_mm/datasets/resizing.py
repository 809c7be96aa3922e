"""How pictures are scaled, wherever the package scales one.

Each pixel of a smaller picture is a weighted mean of all pixels that it covers
(anti-aliasing), as in Pillow. OpenCV's bicubic looks at 4 x 4 pixels, however much it
shrinks.

Letters: H height, W width (pixels).
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def fitted_size(
    height: int, width: int, short_side: int, long_side: int | None = None
) -> tuple[int, int]:
    """The size that a picture is scaled to, its proportion kept, as torchvision has it:
    fractions of a pixel are cut off.

    Args:
        height: H.
        width: W.
        short_side: Wanted, in pixels.
        long_side: Not to be exceeded; the short side then follows.

    Returns:
        Height and width.
    """
    short, long = min(height, width), max(height, width)
    size = short_side, int(short_side * long / short)
    if long_side is not None and size[1] > long_side:
        size = max(int(long_side * short / long), 1), long_side
    return size if height <= width else size[::-1]


def resize(
    image: np.ndarray, size: Sequence[int], interpolation: str = 'bicubic'
) -> np.ndarray:
    """Scale a picture, with anti-aliasing where it becomes smaller.

    Args:
        image: (H, W, 3) uint8.
        size: Height and width wanted, in pixels.
        interpolation: 'bicubic' or 'bilinear'.

    Returns:
        (*size, 3) uint8; the picture itself where it has the size already. Within 1
        level of Pillow's, single pixels of noise within 2.
    """
    if image.shape[:2] == tuple(size):
        return image
    if not _as_torch_has_it(image.shape[:2], size):
        by = Image.Resampling[interpolation.upper()]
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.array(picture.resize((size[1], size[0]), by))
    import torch  # who only reads clips does not wait for it
    import torch.nn.functional as F

    # torch takes no negative strides, and warns of what it can't write to
    pixels = torch.from_numpy(np.require(image, requirements=['C', 'W']))[None]
    # a view: torch is four times as fast where the colours of a pixel lie together
    scaled = F.interpolate(
        pixels.permute(0, 3, 1, 2), list(size), mode=interpolation, antialias=True
    )
    return scaled[0].permute(1, 2, 0).contiguous().numpy()


def _as_torch_has_it(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether torch, ten times as fast, gives Pillow's picture: one that is enlarged is
    rounded otherwise, and Pillow 13 scales what is more than twice as high as wide, or
    is distorted, in another order, which shows where colours are saturated."""
    (height, width), (rows, columns) = before, after
    is_smaller = rows <= height and columns <= width
    is_alike = abs(rows * width - columns * height) <= max(before)
    return is_smaller and is_alike and height <= 2 * width


def centre_box(height: int, width: int, size: Sequence[int]) -> tuple[int, int]:
    """Top and left of the crop of this size (H, W) in the middle; halves are rounded to
    even numbers, as torchvision's."""
    return round((height - size[0]) / 2), round((width - size[1]) / 2)
