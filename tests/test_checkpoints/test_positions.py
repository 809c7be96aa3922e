"""Position tables: grids are found, other sizes interpolated."""

import pytest
import torch
from torch import nn

from coavt_mm.checkpoints.positions import find_grid, resize_positions, resize_table
from coavt_mm.errors import CheckpointError
from coavt_mm.models import JointAVEncoder
from coavt_mm.models.layers import sincos_table


@pytest.mark.parametrize('grid', [(8, 64), (1, 6), (6, 1), (3, 5), (5, 3), (4, 4)])
def test_the_grid_is_decoded(grid):
    assert find_grid(sincos_table(16, *grid)[None]) == grid


def test_another_table_has_no_grid():
    assert find_grid(torch.randn(1, 12, 16)) is None
    assert find_grid(torch.randn(1, 12, 6)) is None


def test_interpolation_keeps_a_linear_table_in_its_extent():
    # away from the edges a plane stays a plane, at the patches' centres
    def plane(rows, cols):
        y = (torch.arange(rows) + 0.5) / rows
        x = (torch.arange(cols) + 0.5) / cols
        return (10 * y[:, None] + x).reshape(1, rows * cols, 1)

    got = resize_table(plane(8, 12), (8, 12), (8, 6)).view(8, 6)
    inner = (slice(None), slice(1, -1))
    expected = plane(8, 6).view(8, 6)
    torch.testing.assert_close(got[inner], expected[inner], atol=1e-3, rtol=0)
    assert (got.diff(dim=1) > 0).all()


def encoder(spec=(48, 32), img=32):
    return JointAVEncoder(8, 2, (1, 1, 1), spec_size=spec, img_size=img)


def test_resizing_twice_and_back():
    state = encoder().state_dict()
    longer, said = resize_positions(state, encoder((80, 32), 64))
    assert longer['audio_embed.position'].shape == (1, 10, 8)
    assert set(said) == {'audio_embed.position', 'visual_embed.position'}
    # the grid of an interpolated table can't be decoded, the number of rows is kept
    back, said = resize_positions(longer, encoder())
    assert '2 x 5 to 2 x 3' in said['audio_embed.position']
    assert back['visual_embed.position'].shape == (1, 4, 8)
    same, said = resize_positions(state, encoder())
    assert said == {} and torch.equal(
        same['audio_embed.position'], state['audio_embed.position']
    )


@pytest.mark.parametrize('spec', [(96, 16), (32, 48), (16, 96)])
def test_a_table_of_as_many_patches_in_another_grid_is_said(spec):
    state = encoder((48, 32)).state_dict()  # 2 x 3
    kept, said = resize_positions(state, encoder(spec))
    assert torch.equal(kept['audio_embed.position'], state['audio_embed.position'])
    rows, cols = spec[1] // 16, spec[0] // 16
    line = said['audio_embed.position']
    assert 'a table of 2 x 3 patches' in line and f'has {rows} x {cols}:' in line
    assert set(said) == {'audio_embed.position'}


def test_nested_models_and_hopeless_tables():
    nested = nn.ModuleDict(dict(part=encoder((80, 32))))
    state = {f'part.{k}': v for k, v in encoder().state_dict().items()}
    assert (
        resize_positions(state, nested)[0]['part.audio_embed.position'].shape[1] == 10
    )
    state['part.audio_embed.position'] = torch.randn(1, 7, 8)
    with pytest.raises(CheckpointError, match='7 positions'):
        resize_positions(state, nested)
