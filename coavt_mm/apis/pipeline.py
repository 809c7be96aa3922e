"""The config's own test pipeline, made to take clips that people hand in.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

from collections.abc import Callable, Sequence

import numpy as np
from mmengine.dataset import Compose

from coavt_mm.datasets.media import Source
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


def _opened(results: dict, key: str) -> Source | None:
    """The file of a row, open if the row brings it so."""
    source = results[key]
    return results.get('opened', {}).get(source, source)


class LoadGivenFrames(LoadFrames):
    """`LoadFrames` for clips whose frames may be there already.

    Required Keys:

    - given_frames (optional): (F, H, W, 3) uint8, with given_fps
    - opened (optional): path or bytes -> `Media`
    - clip_path, start, end
    """

    def _source(self, results: dict) -> Source | None:
        return _opened(results, 'clip_path')

    def transform(self, results: dict) -> dict:
        """Picks the frames on the screen at the times that a file is asked for."""
        if 'given_frames' not in results:
            return super().transform(results)
        frames, fps = results['given_frames'], results['given_fps']
        start, length = results['start'], len(frames) / fps
        results['has_visual'] = start < length
        if not results['has_visual']:
            return results
        end = length if results['end'] is None else min(results['end'], length)
        times = self._picked(self._sampled(start, end, fps))
        index = np.floor((times + 1e-3) * fps).astype(int).clip(0, len(frames) - 1)
        return self._shown(results, [frames[i] for i in index], (index / fps).tolist())


class LoadGivenAudio(LoadAudio):
    """`LoadAudio` for clips whose waveform may be there already.

    Required Keys:

    - given_waveform (optional): (S,) float32 at this transform's rate
    - opened (optional): path or bytes -> `Media`
    - audio_path, start, end
    """

    def _source(self, results: dict) -> Source | None:
        return _opened(results, 'audio_path')

    def _read(self, results: dict) -> np.ndarray | None:
        if 'given_waveform' not in results:
            return super()._read(results)
        waveform, rate = results['given_waveform'], self.sample_rate
        span = self._window(
            results['start'], results['end'], lambda: len(waveform) / rate
        )
        begin, stop = (None if t is None else round(t * rate) for t in span)
        part = waveform[begin:stop]
        return part if len(part) else None


class FitFrames:
    """Brings frames of another size to the model's: shorter side, then the centre.

    Frames that the pipeline has brought to the size already stay as they are.

    Args:
        size (int): Side of the model's picture, in pixels.
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


GIVEN = {
    'LoadFrames': LoadGivenFrames,
    'LoadShardFrames': LoadGivenFrames,
    'LoadAudio': LoadGivenAudio,
    'LoadShardAudio': LoadGivenAudio,
}


class ClipPipeline:
    """A test pipeline: how clips are treated, and how texts are.

    Args:
        transforms (Sequence[dict]): The config's test pipeline.
        img_size (int): Side of the model's picture, in pixels.

    Attributes:
        seconds (float | None): Length of a window of sound in s; None without sound.
        sample_rate (int): Of the sound in Hz.
        tokenize (TokenizeText | None): For texts.
        templates (list[str]): Sentences for labels, such as 'the sound of {}'.
    """

    def __init__(self, transforms: Sequence[dict], img_size: int):
        built = build_transforms([_given(transform) for transform in transforms])
        loaders = (LoadGivenFrames, LoadGivenAudio)
        if not any(isinstance(transform, loaders) for transform in built):
            raise ConfigError(
                'the test pipeline has neither LoadFrames nor LoadAudio to read clips '
                'with'
            )
        sound = _first(built, LoadGivenAudio)
        self.seconds = sound.seconds if sound else None
        self.sample_rate = sound.sample_rate if sound else 16000
        self.tokenize = _first(built, TokenizeText)
        captions = _first(built, AllCaptions)
        self.templates = (captions.templates if captions else []) or ['{}']
        clip_transforms = [t for t in built if not isinstance(t, TEXT_TRANSFORMS)]
        pack = _first(clip_transforms, PackAVTInputs)
        if pack is None:
            raise ConfigError('the test pipeline does not end with PackAVTInputs')
        clip_transforms.insert(clip_transforms.index(pack), FitFrames(img_size))
        self.transforms = Compose(clip_transforms)
        self._try()

    def _try(self) -> None:
        """Prepares a grey picture with sound: transforms in a wrong order show it."""
        row = dict(clip_path=None, audio_path=None, start=0.0, end=None)
        row.update(
            given_frames=np.full((2, 32, 48, 3), 127, np.uint8),
            given_fps=2.0,
            given_waveform=np.full(self.sample_rate, 0.1, np.float32),
        )
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


def _given(transform: dict | Callable) -> dict | Callable:
    """Our loader in the place of the config's, with its arguments."""
    if not isinstance(transform, dict):
        return transform
    options = dict(transform)
    name = options.pop('type')
    name = name.removeprefix('coavt_mm.') if isinstance(name, str) else name
    return GIVEN[name](**options) if name in GIVEN else transform


def _first(transforms: Sequence[Callable], kind: type) -> Callable | None:
    return next((t for t in transforms if isinstance(t, kind)), None)
