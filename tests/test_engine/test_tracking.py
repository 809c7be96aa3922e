"""Groups of curves in TensorBoard."""

import pytest
from mmengine.visualization import Visualizer

from coavt_mm.engine.tracking import grouped
from coavt_mm.registry import VISBACKENDS


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        ('loss', 'loss/sum'),
        ('loss_lm_AV', 'loss/lm_AV'),
        ('matching_acc_A', 'train/matching_acc_A'),
        ('lr', 'train/lr'),
        ('data_time', 'speed/data_time'),
        ('retrieval/text_to_clip/AV/R@1', 'retrieval/text_to_clip/AV/R@1'),
    ],
)
def test_values_have_groups(name, shown):
    assert grouped(name) == shown


def test_scalars_are_written_by_groups(tmp_path, monkeypatch):
    pytest.importorskip('tensorboard')
    backend = VISBACKENDS.build(
        dict(type='coavt_mm.TensorboardVisBackend', save_dir=str(tmp_path))
    )
    written = {}
    backend._init_env()
    backend._env_initialized = True
    monkeypatch.setattr(
        backend._tensorboard, 'add_scalar', lambda n, v, s: written.update({n: (v, s)})
    )
    visualizer = Visualizer('grouped', vis_backends=[backend])
    visualizer.add_scalars({'loss': 1.0, 'lr': 0.1}, step=3)
    backend.close()
    assert written == {'loss/sum': (1.0, 3), 'train/lr': (0.1, 3)}
