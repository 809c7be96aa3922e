import pytest
import torch

from coavt_mm.streams import (
    CAPTION_FIELDS,
    FUSED,
    LOOKS,
    MODALITIES,
    STREAMS,
    available,
    describes,
    has_modality_of,
)


def test_every_table_knows_every_stream():
    assert set(CAPTION_FIELDS.values()) == set(STREAMS)
    assert set(LOOKS) == {*STREAMS, FUSED}
    assert set(available(True, True)) == set(STREAMS)
    assert FUSED == 'AV+A+V'


@pytest.mark.parametrize('audio', [True, False])
@pytest.mark.parametrize('visual', [True, False])
def test_a_stream_is_available_with_all_its_modalities(audio, visual):
    there = {'audio': audio, 'visual': visual}
    every = {s: all(there[m] for m in MODALITIES[s]) for s in STREAMS}
    assert available(audio, visual) == every
    batch = available(torch.tensor([audio]), torch.tensor([visual]))
    assert {s: bool(rows) for s, rows in batch.items()} == every


def test_what_is_said_of_both_holds_for_each():
    assert describes('AV') == (True, True, True)
    assert describes('A') == (False, True, False)
    assert describes('V') == (False, False, True)


def test_modalities_in_common():
    assert has_modality_of('AV', ['A'])
    assert has_modality_of('A', ['AV'])
    assert not has_modality_of('A', ['V'])
    assert not has_modality_of('V', [])
