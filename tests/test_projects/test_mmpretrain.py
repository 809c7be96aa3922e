"""mmpretrain's classifier on the visual branch, run by mmpretrain's own tools."""

import json
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from PIL import Image

from coavt_mm.datasets.transforms import IfVisual, LoadFrames
from coavt_mm.demo.grammar import FACTORS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / 'projects/mmpretrain_coavt'
TOOLS = Path(mmpretrain.__path__[0]) / '.mim/tools'
DATA = 'data/sounding_shapes'
SHORT = (
    '--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=3',
    *(f'{name}_dataloader.{setting}' for name in ('train', 'val', 'test')
      for setting in ('num_workers=0', 'persistent_workers=False')),
)  # fmt: skip


@pytest.fixture
def pictures(workspace, run):
    """Writes the pictures of README.md, once."""
    folder = workspace / DATA / 'pictures'
    for split in ('train', 'test'):
        if not (folder / split).is_dir():
            run(
                PROJECT / 'extract_pictures.py', f'{DATA}/{split}.jsonl', '--data-root',
                DATA, '--out', f'{DATA}/pictures/{split}', '--classes',
                *FACTORS['shape'],
            )  # fmt: skip
    return folder


def test_pictures_are_the_middle_frames_by_label(pictures):
    rows = [json.loads(x) for x in (pictures.parent / 'train.jsonl').open()]
    for row in rows:
        path = pictures / 'train' / row['labels'][0] / f'{row["id"]}.png'
        shown = LoadFrames(pick='middle')(
            dict(clip_path=str(pictures.parent / row['clip']), start=0.0, end=None)
        )
        assert np.array_equal(np.asarray(Image.open(path)), shown['imgs'][0])
    assert len(list(pictures.glob('train/*/*.png'))) == len(rows)
    assert {p.name for p in (pictures / 'test').iterdir()} == set(FACTORS['shape'])


def test_labels_that_name_no_folder_are_one_line(pictures, run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(
            PROJECT / 'extract_pictures.py', f'{DATA}/test.jsonl', '--data-root', DATA,
            '--out', tmp_path,
        )  # fmt: skip
    assert '7 of its labels are among the classes' in capsys.readouterr().err


def test_train_and_test(run, pictures, workspace, tmp_path):
    config = PROJECT / 'configs/pictures_demo.py'
    run(TOOLS / 'train.py', config, '--work-dir', tmp_path, *SHORT)
    log = next(tmp_path.glob('*/*.log')).read_text()
    start = torch.load(workspace / 'work_dirs/demo/checkpoint.pth')['state_dict']
    count = sum(key.startswith('av_encoder.') for key in start)
    assert f'{count} of {count} tensors of the checkpoint go into' in log
    assert 'accuracy/top1' in log
    weights = tmp_path / 'epoch_1.pth'
    run(TOOLS / 'test.py', config, weights, '--work-dir', tmp_path / 'test', *SHORT)
    assert 'accuracy/top1' in next((tmp_path / 'test').glob('*/*.json')).read_text()


def test_ours_with_their_transforms(run, tmp_path):
    run(
        'tools/train.py', PROJECT / 'configs/pretrain_augmented_demo.py',
        '--work-dir', tmp_path,
        '--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_begin=2',
        *(x for x in SHORT[2:] if not x.startswith('test') and 'epochs' not in x),
    )  # fmt: skip
    assert (tmp_path / 'iter_1.pth').is_file()


def test_frames_of_a_clip_are_cropped_alike():
    crop = dict(type='mmpretrain.RandomCrop', crop_size=8)
    broadcast = dict(
        type='TransformBroadcaster', mapping=dict(img='imgs'), auto_remap=True,
        share_random_params=True, transforms=[crop],
    )  # fmt: skip
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    done = IfVisual([broadcast])(dict(has_visual=True, imgs=[picture, picture.copy()]))
    assert done['imgs'][0].shape == (8, 8, 3)
    assert np.array_equal(*done['imgs'])
