"""The example's parts, and its config run by the package's tools."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_coavt import tiny_batch, tiny_coavt

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


def test_a_step_with_an_own_loss(run, tmp_path):
    config = CONFIG.with_name('pretrain_area_demo.py')
    run(
        'tools/train.py', config, '--work-dir', tmp_path, *SHORT,
        'train_dataloader.sampler.curriculum=[]', 'train_dataloader.batch_size=4',
        'default_hooks.logger.interval=1', 'model.extra_heads.area.weight=0.5',
        'train_cfg.max_iters=1',
    )  # fmt: skip
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    first = json.loads(log.splitlines()[0])
    parts = [first[name] for name in first if name.startswith('loss_')]
    assert first['loss_area'] > 0 and sum(parts) == pytest.approx(first['loss'], 1e-4)


def test_areas_are_heron_s():
    from example_project.loss import areas

    torch.manual_seed(0)
    texts, audio, visual = (F.normalize(torch.randn(4, 5)) for _ in 'tav')
    found = areas(texts[:3], audio, visual)
    for i, text in enumerate(texts[:3]):
        for j, (a, v) in enumerate(zip(audio, visual, strict=True)):
            sides = [(text - a).norm(), (text - v).norm(), (a - v).norm()]
            half = sum(sides) / 2
            squared = half * (half - sides[0]) * (half - sides[1]) * (half - sides[2])
            assert found[i, j].item() == pytest.approx(squared.sqrt().item(), abs=1e-4)
    point = texts[:1].requires_grad_()
    (area,) = areas(point, point, point)
    area.sum().backward()
    assert area < 1e-3 and point.grad.isfinite().all()


def test_the_loss_of_areas_is_cross_entropy_over_clips_and_texts():
    from example_project.loss import AreaHead, areas

    model = tiny_coavt(
        extra_heads=dict(area=AreaHead(weight=2.0, temperature=0.5)),
        matching_head=None, lm_head=None,
    )  # fmt: skip
    model.contrastive_head.streams = {}
    batch = tiny_batch(5)
    batch['has_audio'][1] = False
    batch['caption_streams'][3] = torch.tensor([False, True, False])
    found = model(batch, None, mode='loss')['loss_area']
    kept = torch.tensor([0, 2, 4])
    head = model.contrastive_head
    texts = head.project_text(
        model.encode_text(batch['input_ids'], batch['attention_mask'])
    )
    tokens = [model.encode_audio(batch['spectrogram']),
              model.encode_visual(batch['frames'][:, 0])]  # fmt: skip
    pair = [
        F.normalize(head.project_queries(model.query(x).hidden).mean(1)) for x in tokens
    ]
    logits = -areas(texts[kept], *(x[kept] for x in pair)) / 0.5
    right = torch.arange(3)
    slow = F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)
    torch.testing.assert_close(found, slow)  # half the sum, times 2


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
