"""The demo from end to end, on a handful of clips."""

import json
import os
import time

import pytest

from coavt_mm.config import load_config
from coavt_mm.demo import Settings
from coavt_mm.demo.run import (
    TEST_CONFIG,
    TRAIN_CONFIG,
    MemoryWatch,
    find_checkpoint,
    run_demo,
)
from coavt_mm.demo.settings import SMALL, small_options
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.values import read_settings


def _options(root):
    options = [f'model.tokenizer={root}/vocab.txt', 'train_cfg.max_iters=2']
    options += ['train_dataloader.batch_size=4', 'train_cfg.val_begin=2']
    for name in ('train', 'val', 'test'):
        dataset = f'{name}_dataloader.dataset'
        options += [
            f'{dataset}.data_root={root}',
            f'{dataset}.pipeline.3.tokenizer={root}/vocab.txt',
            f'{name}_dataloader.num_workers=0',
            f'{name}_dataloader.persistent_workers=False',
        ]
    return options


@pytest.mark.slow
def test_demo_writes_what_it_promises(tmp_path, capfd):
    settings = Settings(train_clips=12, test_clips=6, val_clips=4)
    options = [*_options(tmp_path / 'data'), 'model.contrastive_head.streams.A=0']
    results = run_demo(str(tmp_path / 'out'), 1, options, settings)
    saved = json.loads((tmp_path / 'out/results.json').read_text())
    assert saved == results
    assert results['clips'] == results['captions'] == 6
    assert results['missing'] == 0
    scores = {'R@1', 'R@5', 'R@10', 'MedR', 'MeanR'}
    for key in ('text_to_clip', 'clip_to_text', 'ceilings'):
        assert {'AV', 'A', 'V'} == set(results[key])
        assert all(scores <= set(row) for row in results[key].values())
    assert 0 <= results['matching_accuracy'] <= 1
    assert 0 <= results['caption_attribute_accuracy'] <= 1
    assert {'render', 'train', 'evaluate'} < set(results['wall_seconds'])
    assert results['peak_memory_mb'] > 100
    written = {p.name for p in (tmp_path / 'out').iterdir()}
    assert {'results.md', 'training.png', 'retrieval.md'} < written
    assert 'switched off in training: A' in capfd.readouterr().out


@pytest.mark.parametrize('config', [TRAIN_CONFIG, TEST_CONFIG])
def test_the_small_demo_changes_all_paths_and_reaches_every_stage(config):
    cfg = load_config(config, read_settings(small_options('small')))
    for name in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert "'data/sounding_shapes" not in repr(cfg[name])
    stages = cfg.train_dataloader.sampler.curriculum
    epochs = sum(stage.get('epochs', 0) for stage in stages)
    steps = epochs * SMALL.train_clips / cfg.train_dataloader.batch_size
    assert steps < cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end


def test_a_mistyped_option_stops_before_anything_is_rendered(tmp_path):
    options = ['model.contrastive_head.stream.A=0']
    with pytest.raises(ConfigError, match='streams'):
        run_demo(str(tmp_path), 1, options)
    assert list(tmp_path.iterdir()) == []


def test_the_best_checkpoint_goes_before_the_last(tmp_path):
    with pytest.raises(CoAVTError, match='no checkpoint'):
        find_checkpoint(tmp_path)
    for age, name in enumerate(('best_x_iter_1.pth', 'iter_1.pth', 'iter_2.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    assert find_checkpoint(tmp_path).name == 'best_x_iter_1.pth'
    (tmp_path / 'best_x_iter_1.pth').unlink()
    assert find_checkpoint(tmp_path).name == 'iter_2.pth'


def test_memory_watch_sees_what_is_held():
    watch = MemoryWatch(interval=0.01)
    watch.start()
    held = bytearray(200 * 2**20)
    held[::4096] = b'x' * len(held[::4096])
    limit = time.monotonic() + 60
    while watch.peak_mb < 200 and time.monotonic() < limit:
        time.sleep(0.01)
    assert watch.stop() > 200
