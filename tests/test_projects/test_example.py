"""The example's parts, and its config run by the package's tools."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'projects/example_project/configs/classify_demo.py'
SHORT = (
    '--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
    'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0',
)  # fmt: skip


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    """What PYTHONPATH=projects does."""
    monkeypatch.syspath_prepend(ROOT / 'projects')


def test_train_and_test(run, workspace, tmp_path, capsys):
    run('tools/train.py', CONFIG, '--work-dir', tmp_path, *SHORT)
    weights = tmp_path / 'iter_2.pth'
    state = torch.load(weights, weights_only=False)['state_dict']
    assert state['head.fc.weight'].shape[0] == 6
    capsys.readouterr()
    run('tools/test.py', CONFIG, weights, '--work-dir', tmp_path, *SHORT)
    assert 'acc/top1' in ''.join(p.read_text() for p in tmp_path.glob('*/*.log'))


def test_a_mistyped_setting_of_an_own_part_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(
            'tools/train.py', CONFIG, '--work-dir', tmp_path, '--cfg-options',
            'model.head.loss.gama=1',
        )  # fmt: skip
    assert 'model.head.loss.gamma' in capsys.readouterr().err


def test_focal_loss_is_cross_entropy_at_gamma_zero():
    from example_project.head import FocalLoss
    from torch.nn.functional import binary_cross_entropy_with_logits

    logits, target = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.eye(2)
    plain = binary_cross_entropy_with_logits(logits, target, reduction='none').sum(1)
    torch.testing.assert_close(FocalLoss(0.0)(logits, target), plain)
    wrong = 1 - torch.tensor([2.0, -1.0]).sigmoid()[0]
    first = -(wrong**2) * (1 - wrong).log()
    second = (
        torch.tensor(-1.0).sigmoid() ** 2 * -(1 - torch.tensor(-1.0).sigmoid()).log()
    )
    torch.testing.assert_close(FocalLoss(2.0)(logits, target)[0], first + second)


def test_gain_in_decibels():
    from example_project.transform import RandomGain

    np.random.seed(0)
    wave = np.ones(100, np.float32)
    gains = [RandomGain(6.0)(dict(has_audio=True, waveform=wave))['waveform'][0]
             for _ in range(200)]  # fmt: skip
    assert 10 ** (-6 / 20) <= min(gains) < 0.6 and 1.8 < max(gains) <= 10 ** (6 / 20)
    assert gains[0].dtype == np.float32 and (wave == 1).all()
    assert RandomGain()(dict(has_audio=False)) == dict(has_audio=False)


def test_the_labels_kept_are_numbered(workspace):
    from example_project.dataset import LabelSubsetDataset

    from coavt_mm.errors import ConfigError

    root = str(workspace / 'data/sounding_shapes')
    keep = ['buzzer', 'flute']
    data = LabelSubsetDataset(keep=keep, ann_file='train.jsonl', data_root=root)
    rows = [data.get_data_info(i) for i in range(len(data))]
    assert 0 < len(rows) < 8
    assert all(keep[row['gt_label'][0]] in row['labels'] for row in rows)
    with pytest.raises(ConfigError, match="no clip has one of .'piano'"):
        LabelSubsetDataset(keep=['piano'], ann_file='train.jsonl', data_root=root)
