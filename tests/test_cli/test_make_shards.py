"""The command, and the configs: raw files and shards by one `_base_` line."""

import runpy
import sys
from pathlib import Path

import pytest
from media_files import write_rows
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from coavt_mm.preparation.shards import make_shards
from coavt_mm.registry import DATA_SAMPLERS, DATASETS, MODELS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'data' / 'make_shards.py'


def command(monkeypatch, *args):
    """Runs the command here; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_command(corpus, tmp_path, monkeypatch, capsys):
    args = (corpus, tmp_path, '--per-shard', 5, '--workers', 1, '--short-side', 24)
    assert command(monkeypatch, *args) == 0
    said = capsys.readouterr().out
    assert '3/3 shards, 11 clips, 1 failed, ' in said and '0:00:00 left' in said
    assert 'failed: broken: ' in said
    (tmp_path / 'shard-000001.tar').write_bytes(b'x')
    assert command(monkeypatch, '--verify', tmp_path) == 1
    assert 'shard-000001.tar: 1 bytes' in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, tmp_path / 'none.jsonl', tmp_path) == 1
    assert capsys.readouterr().err.startswith('Error: manifest none.jsonl is missing')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['vggsound', 'sounding_shapes'])
def test_one_base_line_changes_files_to_shards(name, clip, vocabulary, tmp_path):
    """Both configs give the same keys, and batches that a preprocessor takes alike."""
    manifest = tmp_path / 'm.jsonl'
    write_rows(manifest, [
        {'id': f'c{i}', 'clip': str(clip), 'labels': ['dog'], 'captions': ['a dog'],
         'audio_captions': ['barks'], 'visual_captions': ['the dog']} for i in range(4)
    ])  # fmt: skip
    make_shards(manifest, tmp_path)
    batches = []
    for suffix, ann_file in (('', manifest), ('_shards', tmp_path / 'index.jsonl')):
        folder = ROOT / 'configs' / '_base_' / 'datasets'
        cfg = Config.fromfile(folder / f'{name}{suffix}.py')
        for part in ('train', 'val', 'test'):
            dataset = cfg[f'{part}_dataloader'].dataset
            dataset.update(ann_file=str(ann_file), data_root='')
            for transform in dataset.pipeline:
                if transform.type == 'TokenizeText':
                    transform.tokenizer = str(vocabulary)
            with DefaultScope.overwrite_default_scope('coavt_mm'):
                built = DATASETS.build(dataset)
                sampler = cfg[f'{part}_dataloader'].sampler
                if part == 'train':
                    DATA_SAMPLERS.build(dict(sampler, dataset=built))
                preprocessor = MODELS.build(dict(type='AVTDataPreprocessor'))
            batch = preprocessor(pseudo_collate([built[i, 7] for i in range(2)]))
            batches.append(batch['inputs'])
    for raw, packed in zip(batches[:3], batches[3:], strict=True):
        assert raw.keys() == packed.keys()
        for key, value in raw.items():
            assert value.shape == packed[key].shape, key
            if key == 'spectrogram':  # silent bins may differ by the 16th bit
                assert (value - packed[key]).abs().mean() < 0.05
            elif key != 'frames':
                assert value.equal(packed[key]), key
        assert (raw['frames'] - packed['frames']).abs().mean() < 0.06


def test_both_have_the_same_settings():
    for name in ('vggsound', 'sounding_shapes'):
        folder = ROOT / 'configs' / '_base_' / 'datasets'
        raw, shards = (
            Config.fromfile(folder / f'{name}{suffix}.py') for suffix in ('', '_shards')
        )
        assert set(shards) - set(raw) == {'shards'} and set(raw) <= set(shards)
        for part in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            one, other = raw[part], shards[part]
            assert set(one) == set(other)
            assert one.batch_size == other.batch_size
            assert one.dataset.pipeline == other.dataset.pipeline
