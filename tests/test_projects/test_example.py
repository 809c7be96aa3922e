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
    log = next(tmp_path.rglob('scalars.json')).read_text()
    first = json.loads(log.splitlines()[0])
    parts = [first[name] for name in first if name.startswith('loss_')]
    assert first['loss_area'] > 0 and sum(parts) == pytest.approx(first['loss'], 1e-4)


def test_own_contrast_text_encoder_metric_and_hook(run, tmp_path):
    config = CONFIG.with_name('pretrain_own_demo.py')
    run(
        'tools/train.py', config, '--work-dir', tmp_path, *SHORT,
        'train_dataloader.sampler.curriculum=[]', 'train_dataloader.batch_size=4',
        'default_hooks.logger.interval=1', 'custom_hooks.0.iteration=1',
        'default_hooks.checkpoint.interval=1',
    )  # fmt: skip
    log = ''.join(p.read_text() for p in tmp_path.glob('*/*.log'))
    assert 'query_encoder rests' in log and 'query_encoder is trained' in log
    states = [torch.load(tmp_path / f'iter_{i}.pth', weights_only=False)['state_dict']
              for i in (1, 2)]  # fmt: skip
    moved = {x for x in states[0] if not torch.equal(states[0][x], states[1][x])}
    assert (
        'query_encoder.query_tokens' in moved
        and 'contrastive_head.temperature' in moved
    )
    assert 'text_encoder.words.weight' in moved
    assert (tmp_path / 'best_AV_MRR_iter_2.pth').is_file()
    lines = next(tmp_path.rglob('scalars.json')).read_text().splitlines()
    last = json.loads(lines[-1])
    assert 0 < last['reciprocal_rank/AV/MRR'] <= 100


def test_right_pairs_do_not_compete_with_wrong_ones():
    from example_project.contrastive_head import DecoupledHead

    from coavt_mm.models.losses import Similarity

    head = DecoupledHead(embed_dims=4, proj_dims=2)
    scores = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [9.0, 9.0, 9.0]])
    same = torch.eye(3, dtype=torch.bool)
    valid = torch.tensor([True, True, False])  # the third clip and its text are out
    found = head.loss(Similarity(scores, scores.T), same, valid, valid)
    slow = (-1.0 - 2.0) + (0.0 - 2.0) + (0.0 - 3.0) + (-1.0 - 3.0)  # of one wrong each
    torch.testing.assert_close(found, torch.tensor(slow / 4))
    alone = torch.tensor([True, False, False])
    assert head.loss(Similarity(scores, scores.T), same, alone, alone) == 0


def test_the_bag_of_words_leaves_padding_out():
    from example_project.text_encoder import BagOfWords

    encoder = BagOfWords(vocab_size=9, embed_dims=4)
    ids = torch.tensor([[2, 5, 3, 0], [2, 3, 0, 0]])
    states = encoder(ids, (ids > 0).long())
    words = encoder.words.weight
    torch.testing.assert_close(states[0, 0], words[[2, 5, 3]].mean(0))
    torch.testing.assert_close(states[1, 0], words[[2, 3]].mean(0))
    torch.testing.assert_close(states[0, 1], words[5])


def test_the_mean_of_reciprocal_ranks():
    from example_project.metric import ReciprocalRankMetric

    metric = ReciprocalRankMetric()
    clips = torch.eye(3)
    for i, text in enumerate([0, 2, 2]):  # the second caption is that of the third clip
        sample = dict(
            sample_idx=i, sample_id=f'c{i}', texts=['x'], text_streams=['AV'],
            clip_feats=dict(AV=clips[i][None, None]), caption_feats=clips[text][None],
        )  # fmt: skip
        metric.process({}, [sample])
    # ties count against: rank 1, rank 3 of three, rank 1
    assert metric.evaluate(3)['reciprocal_rank/AV/MRR'] == pytest.approx(700 / 9)


def test_a_part_rests_until_its_iteration():
    from types import SimpleNamespace

    from example_project.hook import ThawHook

    from coavt_mm.errors import ConfigError

    model = torch.nn.ModuleDict(dict(part=torch.nn.Linear(1, 1)))
    lines = []
    logger = SimpleNamespace(info=lines.append)
    runner = SimpleNamespace(model=model, iter=0, logger=logger)
    trained = []
    for runner.iter in range(8):
        ThawHook('part', 5).before_train_iter(runner, runner.iter)
        trained.append(model.part.weight.requires_grad)
    assert trained == [False] * 5 + [True] * 3 and len(lines) == 2
    with pytest.raises(ConfigError, match="the model has no 'text_encodr'"):
        ThawHook('text_encodr', 5).before_train_iter(runner, 0)


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
