"""Scaling and cropping of frames: sizes and places are torchvision's, arguments
mmaction2's. Letters: H height, W width (pixels).
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from coavt_mm.datasets.resizing import centre_box, fitted_size, resize
from coavt_mm.errors import ConfigError
from coavt_mm.registry import TRANSFORMS

INTERPOLATIONS = ('bicubic', 'bilinear')


def _changed(results: dict, change: Callable[[np.ndarray], np.ndarray]) -> dict:
    results['imgs'] = [change(image) for image in results['imgs']]
    results['img_shape'] = results['imgs'][0].shape[:2]
    return results


def _is_side(number: object) -> bool:
    return isinstance(number, int) and number > 0


@TRANSFORMS.register_module()
class Resize(BaseTransform):
    """Scales frames as Pillow and torchvision do, with anti-aliasing.

    mmaction2's of the same name scales with OpenCV, without.

    Required Keys:

    - imgs

    Modified Keys:

    - imgs

    Added Keys:

    - img_shape

    Args:
        scale: (-1, short side) in pixels; of two sides frames become as large as fits.
        keep_ratio: False scales to ``scale`` as (W, H).
        interpolation: 'bicubic' or 'bilinear'.
    """

    def __init__(
        self,
        scale: Sequence[int],
        keep_ratio: bool = True,
        interpolation: str = 'bicubic',
    ):
        sides = [side for side in scale if not (keep_ratio and side == -1)]
        if len(scale) != 2 or not sides or not all(map(_is_side, sides)):
            raise ConfigError(
                f'scale={scale!r} is neither (-1, short side) nor two sides in pixels'
            )
        if interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f'interpolation={interpolation!r} is none of '
                f'{", ".join(INTERPOLATIONS)}'
            )
        self.scale, self.keep_ratio = (scale[0], scale[1]), keep_ratio
        self.interpolation = interpolation

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) that a frame is scaled to."""
        if not self.keep_ratio:
            return self.scale[::-1]
        short, long = sorted(self.scale)
        if short == -1:
            return fitted_size(height, width, long)
        return fitted_size(height, width, short, long)

    def transform(self, results: dict) -> dict:
        """Scale all frames."""
        size = self._size(*results['imgs'][0].shape[:2])
        return _changed(results, lambda image: resize(image, size, self.interpolation))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, keep_ratio={self.keep_ratio}, '
            f'interpolation={self.interpolation!r})'
        )


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Cut the middle out of frames.

    Where the margins can't be equal, mmaction2's may lie a pixel off torchvision's.

    Required Keys:

    - imgs

    Modified Keys:

    - imgs

    Added Keys:

    - img_shape

    Args:
        crop_size: Side in pixels, or (W, H).
    """

    def __init__(self, crop_size: int | Sequence[int]):
        both = crop_size if isinstance(crop_size, Sequence) else (crop_size,) * 2
        if len(both) != 2 or not all(map(_is_side, both)):
            raise ConfigError(
                f'crop_size={crop_size!r} is neither a side in pixels nor two'
            )
        self.size = both[1], both[0]  # (H, W)

    def transform(self, results: dict) -> dict:
        """Crop all frames.

        Raises:
            ConfigError: They are smaller than the crop.
        """
        height, width = results['imgs'][0].shape[:2]
        rows, columns = self.size
        if height < rows or width < columns:
            raise ConfigError(
                f'CenterCrop to {rows} x {columns} pixels: a frame has {height} x '
                f'{width}; put a Resize in front'
            )
        top, left = centre_box(height, width, self.size)
        box = slice(top, top + rows), slice(left, left + columns)
        return _changed(results, lambda image: image[box])

    def __repr__(self) -> str:
        return f'{type(self).__name__}(crop_size={self.size[::-1]})'


@TRANSFORMS.register_module()
class JPEG(BaseTransform):
    """Write frames as JPEG and read them again, with Pillow and its usual chroma
    subsampling, as data sets of extracted frames do.

    Required Keys:

    - imgs

    Modified Keys:

    - imgs

    Added Keys:

    - img_shape

    Args:
        quality: 1 to 100; Pillow's own default is 75.
    """

    def __init__(self, quality: int = 75):
        if not 0 < quality <= 100:
            raise ConfigError(f'quality={quality} is not between 1 and 100')
        self.quality = quality

    def transform(self, results: dict) -> dict:
        """Compresses all frames."""
        return _changed(results, self._compressed)

    def _compressed(self, image: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, 'JPEG', quality=self.quality)
        return np.array(Image.open(buffer))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(quality={self.quality})'
