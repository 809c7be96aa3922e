"""Which side of a film's picture is up: rotations and mirrors that its file states."""

import math
import struct
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type


def _matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """(a, b, ., c, d, ...) of a frame's display matrix: (a x + c y, b x + d y) is where
    (x, y) is shown, y downwards."""
    stated: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    return struct.unpack('9i', bytes(stated)) if stated else (1, 0, 0, 0, 1, 0, 0, 0, 1)


def is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether a frame is shown as in a mirror, as cameras for selfies ask for."""
    a, b, _, c, d, *_ = _matrix(frame)
    return a * d - b * c < 0


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn a picture by quarters, and mirror it, as its frame says.

    Args:
        image: (H, W, 3), as it is stored.
        frame: What it was decoded as.

    Returns:
        (H, W, 3) or (W, H, 3), perhaps a view.
    """
    a, b, *_ = _matrix(frame)
    if is_mirrored(frame):
        image, a, b = image[:, ::-1], -a, -b
    return np.rot90(image, round(-math.degrees(math.atan2(b, a)) / 90) % 4)
