"""Pictures whose detail falls off as that of photographs does."""

import numpy as np


def natural_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: noise with amplitudes of frequency ** -1.5, colours close to
    each other."""
    rng = np.random.default_rng(seed)
    rows = np.fft.fftfreq(height)[:, None] * height
    columns = np.fft.rfftfreq(width)[None] * width
    falling = np.maximum(np.hypot(rows, columns), 1.0) ** -1.5
    planes = []
    for _ in range(3):
        phases = rng.uniform(0, 2 * np.pi, falling.shape)
        plane = np.fft.irfft2(falling * np.exp(1j * phases), (height, width))
        planes.append((plane - plane.mean()) / plane.std())
    grey, red, blue = planes
    colours = np.stack([grey + 0.3 * red, grey, grey + 0.3 * blue], 2)
    return (127 + 50 * colours).clip(0, 255).astype(np.uint8)
