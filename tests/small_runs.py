"""A small pre-training on six clips, as a config in a file."""

import json
from pathlib import Path

import pytest
from media_files import write_clip
from small_configs import small

DEMO = Path(__file__).parents[1] / 'configs/coavt/pretrain_demo.py'
WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '[DEC]', 'a', 'red', 'star']


def write_rows(path, count):
    """A manifest of so many clips; each caption is another, one field's are longer."""
    rows = [
        dict(id=str(i), clip='clip.mp4', labels=['star'], captions=[f'a red star {i}'],
             visual_captions=[f'red {i}'], audio_captions=[f'star {i}'])
        for i in range(count)
    ]  # fmt: skip
    path.write_text('\n'.join(map(json.dumps, rows)) + '\n')


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A data folder whose six clips are one file, and a small config of it."""
    root = tmp_path_factory.mktemp('data') / 'Töne und Bilder'
    root.mkdir()
    write_clip(root / 'clip.mp4')
    (root / 'vocab.txt').write_text('\n'.join(WORDS) + '\n')
    for name in ('train', 'val', 'test'):
        write_rows(root / f'{name}.jsonl', 6)
    cfg = small(DEMO, root, root / 'run')
    cfg.train_dataloader.sampler.curriculum = []
    cfg.train_dataloader.pop('num_batch_per_epoch')
    cfg.dump(root / 'config.py')
    return root
