import os

import numpy as np
import pytest
import torch
from media_files import write_rows, write_sound

from coavt_mm.analysis.audio_statistics import RunningMoments, audio_statistics
from coavt_mm.errors import ClipError, ConfigError
from coavt_mm.models.logmel import LogMel


def test_moments_in_portions_are_those_of_the_whole():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3 - 500
    moments = RunningMoments()
    for part in (values[:1], values[1:1], values[1:400].view(7, 57), values[400:]):
        moments.add(part)
    assert moments.count == 1000
    assert moments.mean == pytest.approx(values.double().mean().item())
    assert moments.std == pytest.approx(values.double().std(correction=0).item())


@pytest.fixture
def corpus(tmp_path, make_clip):
    """Noises of 0.5 s and 1.3 s, a silent one, one without sound, one unreadable."""
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (8000, 20800)]
    for i, wave in enumerate(waves):
        write_sound(tmp_path / f'{i}.wav', wave, 16000)
    (tmp_path / 'text.mp4').write_text('no film')
    rows = [{'id': str(i), 'clip': None, 'audio': f'{i}.wav'} for i in range(2)]
    rows += [
        {'id': 'silent', 'clip': str(make_clip(silent=True))},
        {'id': 'mute', 'clip': str(make_clip(sound=False))},
        {'id': 'text', 'clip': 'text.mp4'},
    ]
    return write_rows(tmp_path / 'm.jsonl', rows), waves


@pytest.mark.parametrize('workers', [0, 1])
def test_padding_and_silence_do_not_count(corpus, workers):
    path, waves = corpus
    found = audio_statistics(
        str(path), str(path.parent), seconds=1.0, workers=workers, num_mel_bins=32
    )
    logmel = LogMel(num_mel_bins=32)
    waves = [np.round(wave[:16000] * 32768) / 32768 for wave in waves]
    energies = [
        logmel(torch.from_numpy(w - w.mean()).float()[None])[0].double() for w in waves
    ]
    values = torch.cat(energies)
    assert found['frames'] == len(values) == 48 + 98
    assert found['mean'] == pytest.approx(values.mean().item(), abs=0.01)
    assert found['std'] == pytest.approx(values.std(correction=0).item(), abs=0.01)
    assert (found['clips'], found['soundless'], found['unreadable']) == (2, 2, 1)


def test_a_draw_and_a_relative_path(corpus, monkeypatch):
    path, _ = corpus
    monkeypatch.chdir(path.parent.parent)
    name = os.path.relpath(path)
    found = audio_statistics(name, os.path.dirname(name), clips=4, seed=0)
    assert found['clips'] + found['soundless'] + found['unreadable'] == 4
    with pytest.raises(ConfigError, match='not 0'):
        audio_statistics(name, '', clips=0)


def test_nothing_to_hear(tmp_path, make_clip):
    row = {'id': 'a', 'clip': str(make_clip(sound=False))}
    path = write_rows(tmp_path / 'm.jsonl', [row])
    with pytest.raises(ClipError, match='none of 1 clips has sound'):
        audio_statistics(str(path), '')
