"""How fast clips are read and spectrograms computed."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
from torchaudio.compliance.kaldi import fbank

from coavt_mm.datasets.shards.archive import unpack_piece
from coavt_mm.datasets.sources import ShardSource
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.models.logmel import LogMel
from coavt_mm.preparation.shards import Settings, pack_clip

SECONDS, FPS, RATE = 10, 30, 44100  # of a rendered clip: s, Hz, Hz


def render_clip(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """Render 10 s of a moving, textured picture with sound: H.264 with a key frame
    every 250 frames, AAC, as clips from the web come.

    Args:
        path: The mp4 file.
        size: Width and height in pixels, even.
        seed: Of texture and sound.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    small = rng.integers(0, 256, (height // 8 + 32, width // 8 + 32, 3), np.uint8)
    texture = np.kron(small, np.ones((8, 8, 1), np.uint8))
    waveform = 0.2 * rng.standard_normal((1, SECONDS * RATE)).astype(np.float32)
    with av.open(str(path), 'w') as container:
        video = container.add_stream('h264', rate=FPS)
        video.width, video.height, video.pix_fmt = width, height, 'yuv420p'
        video.options = {'g': '250', 'keyint_min': '250', 'sc_threshold': '0',
                         'preset': 'veryfast', 'crf': '26'}  # fmt: skip
        audio = container.add_stream('aac', rate=RATE, layout='mono')
        for index in range(SECONDS * FPS):
            x, y = index % 240, index * 2 % 240
            picture = np.ascontiguousarray(texture[y : y + height, x : x + width])
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
        for begin in range(0, waveform.shape[1], 1024):
            part = np.ascontiguousarray(waveform[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(part, 'fltp', 'mono')
            frame.sample_rate, frame.pts = RATE, begin
            frame.time_base = Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def seconds_per_call(function: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call in s, after one call to warm up.

    Processor time of the whole process, so that other programs on the machine don't
    count; it is the time on one core, whatever threads a library starts.
    """
    function()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return median(times)


def reading_rates(
    path: Path, backends: list[str], repeats: int = 5, settings: Settings | None = None
) -> dict[str, dict[str, float]]:
    """Clips per second and core of reading a clip raw and from a shard.

    Args:
        path: The clip.
        backends: Decoders of the raw file.
        repeats: Calls of which the median is taken.
        settings: How the shard is made.

    Returns:
        'raw, <back end>' and 'shard, <codec>' -> clips/s for 'one frame' of the ten
        with the sound (training; the mean over the ten), 'ten frames' with the sound,
        and 'sound' alone.
    """
    row = dict(sample_id='x', clip_path=str(path), audio_path=str(path), start=0.0,
               end=None, captions=[], audio_captions=[], visual_captions=[],
               labels=[])  # fmt: skip
    result = {}
    for backend in backends:
        result[f'raw, {backend}'] = _rates(
            lambda pick, backend=backend: LoadFrames(10, pick, backend),
            LoadAudio(), lambda: dict(row), repeats,
        )  # fmt: skip
    for codec in ('flac', 'opus'):
        made = settings or Settings(codec=codec)
        piece, about = pack_clip(row, 'x', '', made)
        seconds = about['audio_samples'] / made.sample_rate

        def opened(piece=piece, about=about, seconds=seconds) -> dict:
            source = ShardSource(unpack_piece(piece), about['frame_times'], seconds)
            return dict(row, picture=source, sound=source)

        result[f'shard, {codec}'] = _rates(
            lambda pick: LoadFrames(10, pick), LoadAudio(), opened, repeats
        )
    return result


def _rates(
    frames: Callable, audio: LoadAudio, row: Callable, repeats: int
) -> dict[str, float]:
    singles, ten = [frames(index) for index in range(10)], frames('all')

    def one_frame_each() -> None:
        for one in singles:  # how far it lies behind a key frame decides the cost
            audio.transform(one.transform(row()))

    calls = {
        'one frame': (10, one_frame_each),
        'ten frames': (1, lambda: audio.transform(ten.transform(row()))),
        'sound': (1, lambda: audio.transform(row())),
    }
    return {
        name: clips / seconds_per_call(call, repeats)
        for name, (clips, call) in calls.items()
    }


def spectrogram_rates(
    batch: int = 32, device: str = 'cpu', repeats: int = 5
) -> dict[str, float]:
    """Clips (10 s, 16 kHz) per second: torchaudio's fbank clip by clip on the CPU,
    and ``LogMel`` on a batch on the device.

    Args:
        batch: Clips.
        device: Device of ``LogMel``.
        repeats: Calls of which the median is taken.
    """
    waveforms = 0.1 * torch.randn(batch, 160000)
    options = dict(htk_compat=True, sample_frequency=16000.0, use_energy=False,
                   window_type='hanning', num_mel_bins=128, dither=0.0)  # fmt: skip
    logmel, moved = LogMel().to(device), waveforms.to(device)

    def on_device() -> None:
        logmel(moved)
        if moved.is_cuda:
            torch.cuda.synchronize()

    calls = {
        'torchaudio, clip by clip': lambda: [
            fbank(waveform[None], **options) for waveform in waveforms
        ],
        'LogMel, batch': on_device,
    }
    clock = _wall if moved.is_cuda else seconds_per_call
    return {name: batch / clock(call, repeats) for name, call in calls.items()}


def _wall(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call in s, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return median(times)
