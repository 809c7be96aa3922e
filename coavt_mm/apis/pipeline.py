"""The config's own test pipeline, made to take clips that people hand in.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose

from coavt_mm.datasets.sources import ArraySource
from coavt_mm.datasets.transforms import (
    AllCaptions,
    CenterCrop,
    IfVisual,
    LoadAudio,
    LoadFrames,
    PackAVTInputs,
    PickCaption,
    Resize,
    TokenizeText,
)
from coavt_mm.datasets.transforms.video import build_transforms
from coavt_mm.errors import ConfigError

TEXT_TRANSFORMS = (AllCaptions, PickCaption, TokenizeText)


class FitFrames:
    """Bring frames of another size to the model's: shorter side, then the centre.

    Frames that the pipeline has brought to the size already stay as they are.

    Args:
        size: Side of the model's picture, in pixels.
    """

    def __init__(self, size: int):
        self.size = (size, size)
        self.fit = IfVisual([Resize((-1, size)), CenterCrop(size)])

    def __call__(self, results: dict) -> dict:
        """Resize and crop, unless the size is right or there is no picture."""
        there = results.get('has_visual')
        if not there or results['imgs'][0].shape[:2] == self.size:
            return results
        return self.fit(results)


class ClipPipeline:
    """A test pipeline: how clips are treated, and how texts are.

    Args:
        transforms: The config's test pipeline.
        img_size: Side of the model's picture, in pixels; None leaves frames as they
            are.

    Attributes:
        seconds: Length of a window of sound in s; None without sound.
        sample_rate: Of the sound in Hz.
        tokenizers: For texts, by the keys of their ids.
        templates: Sentences for labels, such as 'the sound of {}'.
        isolate: Whether a process beside decodes, as one of its loaders asks for.
    """

    def __init__(self, transforms: Sequence[dict], img_size: int | None):
        built = build_transforms(transforms)
        if not any(isinstance(t, LoadFrames | LoadAudio) for t in built):
            raise ConfigError(
                'the test pipeline has neither LoadFrames nor LoadAudio to read clips '
                'with'
            )
        sound = _first(built, LoadAudio)
        self.isolate = any(getattr(t, 'isolate', False) for t in built)
        self.seconds = sound.seconds if sound else None
        self.sample_rate = sound.sample_rate if sound else None
        self.tokenizers = {t.key: t for t in built if isinstance(t, TokenizeText)}
        captions = _first(built, AllCaptions)
        self.templates = (captions.templates if captions else []) or ['{}']
        clip_transforms = [t for t in built if not isinstance(t, TEXT_TRANSFORMS)]
        pack = _first(clip_transforms, PackAVTInputs)
        if pack is None:
            raise ConfigError('the test pipeline does not end with PackAVTInputs')
        if img_size is not None:
            clip_transforms.insert(clip_transforms.index(pack), FitFrames(img_size))
        self.transforms = Compose(clip_transforms)
        self._try()

    def _try(self) -> None:
        """Prepare a grey picture with sound: transforms in a wrong order show it."""
        picture = ArraySource(np.full((2, 32, 48, 3), 127, np.uint8), 2.0)
        rate = self.sample_rate or 1
        sound = ArraySource(waveform=np.full(rate, 0.1, np.float32), sample_rate=rate)
        row: dict[str, Any] = dict(clip_path=None, audio_path=None, start=0.0, end=None)
        row.update(picture=picture, sound=sound)
        try:
            self(row)
        except Exception as error:  # transforms are the user's and may raise anything
            reason = ' '.join(f'{type(error).__name__}: {error}'.split())
            raise ConfigError(
                f'the test pipeline can not prepare a clip ({reason:.200}); is a '
                'transform missing, or before one that it needs?'
            ) from error

    def __call__(self, row: dict) -> dict:
        """From a window's row to a packed sample."""
        return self.transforms(row)


def _first(transforms: Sequence[Callable], kind: type) -> Any:
    return next((t for t in transforms if isinstance(t, kind)), None)
