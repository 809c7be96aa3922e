import runpy
import sys
from pathlib import Path

import av
import pytest

from coavt_mm.analysis import speed as benchmarks
from coavt_mm.analysis.speed import (
    reading_rates,
    render_clip,
    seconds_per_call,
    spectrogram_rates,
)

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis'


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    return render_clip(tmp_path_factory.mktemp('b') / 'x.mp4', (64, 48))


def test_rendered_clips_are_as_said(rendered):
    with av.open(str(rendered)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.frames) == (64, 48, 300)
        assert audio.codec_context.sample_rate == 44100
        keys = [
            index
            for index, packet in enumerate(container.demux(video))
            if packet.is_keyframe
        ]
    assert keys == [0, 250]


def test_reading_rates(rendered):
    rates = reading_rates(rendered, ['pyav'], repeats=1)
    assert set(rates) == {'raw, pyav', 'shard, flac', 'shard, opus'}
    for row in rates.values():
        assert set(row) == {'one frame', 'ten frames', 'sound'}
        assert all(rate > 0 for rate in row.values())


def test_time_is_that_of_the_work():
    def work():
        sum(range(300_000))

    def twice():
        work(), work()

    one, two = (seconds_per_call(call, 15) for call in (work, twice))
    assert 1.3 < two / one < 3.0


def test_spectrogram_rates():
    rates = spectrogram_rates(batch=2, repeats=1)
    assert len(rates) == 2 and all(rate > 0 for rate in rates.values())


@pytest.mark.parametrize('fast, status', [(9.0, 0), (3.0, 1)])
def test_the_data_command_fails_when_shards_are_slow(monkeypatch, capsys, fast, status):
    def rates(path, backends, repeats):
        row = {'one frame': 1.0, 'ten frames': 1.0, 'sound': 1.0}
        result = {f'raw, {backend}': dict(row) for backend in backends}
        return {**result, 'shard, flac': dict.fromkeys(row, fast)}

    monkeypatch.setattr(benchmarks, 'reading_rates', rates)
    monkeypatch.setattr(benchmarks, 'render_clip', lambda path, size: Path(__file__))
    monkeypatch.setattr(
        benchmarks, 'spectrogram_rates', lambda *_: {'torchaudio, clip by clip': 2.0}
    )
    monkeypatch.setattr(sys, 'argv', ['benchmark_data.py'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / 'benchmark_data.py'), run_name='__main__')
    assert stop.value.code == status
    assert f'at 720p: {fast:.1f}x' in capsys.readouterr().out
