import math
import os
from contextlib import ExitStack

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_files import write_clip

from coavt_mm.datasets.decoding import backend_order, read_audio, read_frames
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.opening import check_regular_file, source_name, with_time_limit
from coavt_mm.errors import ClipError


def test_a_cover_picture_is_no_picture(make_clip):
    info = probe(make_clip(frames=1, cover=True))
    assert info.has_audio and not info.has_video


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4', '.mov'])
@pytest.mark.parametrize('backend', backend_order('pyav'))
@pytest.mark.parametrize('default', [0, 1])
def test_streams_are_those_that_are_played_by_default(
    tmp_path, suffix, default, backend
):
    """Films with a commentary, or a second camera."""
    parts = [
        write_clip(tmp_path / f'{i}{suffix}', size=(64, 48 + i), frequency=440 + i)
        for i in (0, 100)
    ]
    path = tmp_path / f'x{suffix}'
    with av.open(str(path), 'w') as both, ExitStack() as stack:
        packets = []
        for number, part in enumerate(parts):
            container = stack.enter_context(av.open(str(part)))
            streams = {s.index: both.add_stream_from_template(s)
                       for s in container.streams}  # fmt: skip
            for stream in streams.values():
                stream.disposition = Disposition(number == default)
            for packet in container.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            both.mux(packet)
    (image,), _ = read_frames(path, [1.0], backend)
    assert image.shape[0] == (148 if default else 48)
    spectrum = np.abs(np.fft.rfft(read_audio(path, 0.5, 1.5)))
    assert spectrum.argmax() == (540 if default else 440)


def test_probe(horrors):
    info = probe(horrors['short_sound'])
    assert info.has_video and info.has_audio
    assert math.isclose(info.video_end, 2.0, abs_tol=0.01)
    assert math.isclose(info.audio_end, 0.7, abs_tol=0.01)
    assert not probe(horrors['no_sound']).has_audio
    assert not probe(horrors['no_picture']).has_video


def test_time_limit_hands_on_values_and_errors():
    assert with_time_limit(lambda: 7, 5.0, 'x') == 7
    assert with_time_limit(lambda: 7, None, 'x') == 7
    with pytest.raises(KeyError):
        with_time_limit(lambda: {}['a'], 5.0, 'x')


@pytest.mark.parametrize(
    'name, reason',
    [
        ('missing', 'No such file'),
        ('folder', 'regular'),
        ('zero_bytes', 'empty'),
        ('text', 'Invalid data'),
        ('truncated', 'Invalid data'),
    ],
)
def test_unusable_files_are_named(horrors, name, reason):
    with pytest.raises(
        ClipError, match=f'{os.path.basename(horrors[name])}: .*{reason}'
    ):
        probe(horrors[name])


def test_bytes_are_a_source(clip):
    content = clip.read_bytes()
    check_regular_file(content)
    assert probe(content) == probe(clip)
    assert source_name(content) == '<bytes>' and source_name(clip) == str(clip)
