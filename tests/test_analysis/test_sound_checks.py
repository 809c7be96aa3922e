"""What is measured of `check_sound`, with a model that knows the answers."""

import shutil

import numpy as np
import pytest

from coavt_mm.analysis.sound_checks import check_exchanged, check_shifted, shifted
from coavt_mm.datasets.manifest import write_manifest
from coavt_mm.errors import InputError


class Oracle:
    """Tells own sounds from others, and shifts 0.1 s too late."""

    def __init__(self, delays=()):
        self.delays = list(delays)

    def check_sound(self, clips, on_error=None):
        clips = clips if isinstance(clips, list) else [clips]
        exchanged = all(isinstance(clip, dict) for clip in clips) and not self.delays
        score = 0.1 if exchanged else 0.9
        found = dict(score=score, best_score=score, shift=None)
        if self.delays:
            late = self.delays.pop(0)
            found['shift'] = None if late is None else late + 0.1
        return [found for _ in clips]


def test_exchanged_sounds(tmp_path):
    rows = [dict(id=x, clip=f'{x}.mp4', labels=[x, 'same', x + x]) for x in 'abc']
    write_manifest(tmp_path / 'test.jsonl', rows, dict(protocol='x'))
    found = check_exchanged(Oracle(), tmp_path / 'test.jsonl')
    wanted = {'clips': 3, 'AUC': 1.0, 'own': 0.9, 'exchanged': 0.1}
    assert found == pytest.approx(wanted)
    rows = [dict(row, labels=[row['id'], 'same']) for row in rows]
    write_manifest(tmp_path / 'test.jsonl', rows, dict(protocol='x'))
    with pytest.raises(InputError, match='no clip is unlike a'):
        check_exchanged(Oracle(), tmp_path / 'test.jsonl')


def test_shifted_sounds(tmp_path, make_clip):
    with pytest.raises(InputError, match='two clips'):
        check_shifted(Oracle(), tmp_path)
    for name in 'ab':
        shutil.copy(make_clip(seconds=0.5), tmp_path / f'{name}.mp4')
    oracle = Oracle([-1.0, 2.0, -1.0, None])
    found = check_shifted(oracle, tmp_path, shifts=(-1.0, 2.0))
    assert found['mean error'] == found['bias'] == pytest.approx(0.1)
    assert found['within 0.5 s'] == 1 and found['untold'] == 0.25
    assert found['clips'] == 2 and found['AUC'] == 1


def test_a_wave_played_later_and_earlier():
    wave = np.arange(1, 16001, dtype=np.float32)
    late, early = shifted(wave, 0.25), shifted(wave, -0.25)
    assert not late[:4000].any() and (late[4000:] == wave[:-4000]).all()
    assert not early[-4000:].any() and (early[:-4000] == wave[4000:]).all()
    assert not shifted(wave, 5.0).any() and (shifted(wave, 0.0) == wave).all()
