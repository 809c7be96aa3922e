"""Weights by config: the log says what was loaded, a misfit stops the run."""

import subprocess
import sys
from pathlib import Path

import ancestors
import pytest
import tiny_coavt
import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from coavt_mm.checkpoints import convert_cavmae, export_safetensors, save_weights
from coavt_mm.compat import register_checkpoint_loader
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def converted(tmp_path):
    torch.manual_seed(0)
    made = convert_cavmae(ancestors.cavmae(), num_heads=2)
    for suffix in ('pth', 'safetensors'):
        save_weights(made.state_dict, tmp_path / f'c.{suffix}', made.model_cfg)
    return made


@pytest.fixture
def said(monkeypatch):
    """What is logged, in one string a call."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lambda r: lines.append(r.getMessage()))
    return lines


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('kind', ['coavt_mm.Converted', 'Pretrained'])
def test_init_cfg_loads_a_converted_file(converted, tmp_path, said, kind, suffix):
    register_checkpoint_loader()
    init_cfg = dict(type=kind, checkpoint=str(tmp_path / f'c.{suffix}'))
    model = MODELS.build(dict(converted.model_cfg, init_cfg=init_cfg))
    model.init_weights()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, converted.state_dict[name])
    assert any(str(tmp_path) in line for line in said)
    if kind != 'Pretrained':
        number = len(converted.state_dict)
        assert any(f'{number} of {number} tensors' in line for line in said)


def test_init_cfg_takes_a_part_and_fits_its_positions(tmp_path, said):
    source = tmp_path / 'whole.safetensors'
    export_safetensors(tiny_coavt.tiny_coavt().state_dict(), source)
    cfg = tiny_coavt.tiny_cfg()['av_encoder']
    init_cfg = dict(
        type='coavt_mm.Converted', checkpoint=str(source), prefix='av_encoder'
    )
    model = MODELS.build(dict(cfg, spec_size=(80, 32), init_cfg=init_cfg))
    model.init_weights()
    assert any('interpolated from 2 x 3 to 2 x 5' in line for line in said)


def test_init_cfg_with_a_file_that_matches_nothing_is_an_error(converted, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(ancestors.resnet(), path)
    init_cfg = dict(type='coavt_mm.Converted', checkpoint=str(path))
    model = MODELS.build(dict(converted.model_cfg, init_cfg=init_cfg))
    with pytest.raises(CheckpointError, match='0 of 2 tensors'):
        model.init_weights()


def runner(tmp_path, model):
    register_checkpoint_loader()
    return Runner(
        model=model,
        work_dir=str(tmp_path / 'work'),
        custom_hooks=[dict(type='coavt_mm.FitCheckpointHook')],
        experiment_name=f'loading-{tmp_path.name}',
        default_scope='coavt_mm',
        log_level='ERROR',
    )


def test_load_from_says_what_goes_where_and_fits(tmp_path, monkeypatch):
    source = tmp_path / 'x.pth'
    own = tiny_coavt.tiny_coavt()
    torch.save(dict(state_dict=own.state_dict()), source)
    cfg = tiny_coavt.tiny_cfg(lm_head=None)
    cfg['av_encoder']['spec_size'] = (80, 32)
    run, lines = runner(tmp_path, MODELS.build(dict(type='CoAVT', **cfg))), []
    monkeypatch.setattr(run.logger, 'info', lines.append)
    run.load_checkpoint(str(source))
    text = ' '.join(lines)
    assert 'not in the model: lm_head' in text
    assert 'interpolated from 2 x 3 to 2 x 5' in text
    got = run.model.query_encoder.query_tokens
    assert torch.equal(got, own.query_encoder.query_tokens)
    position = run.model.av_encoder.audio_embed.position
    assert position.shape[1] == 10


def test_load_from_that_matches_nothing_is_an_error(tmp_path):
    source = tmp_path / 'x.pth'
    torch.save(ancestors.resnet(), source)
    run = runner(tmp_path, tiny_coavt.tiny_coavt())
    with pytest.raises(CheckpointError, match='0 of 2 tensors'):
        run.load_checkpoint(str(source))


def tool(name, *args):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'converters' / name), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_the_commands_print_the_report_and_refuse_in_one_line(tmp_path):
    out = tmp_path / 'out.safetensors'
    golden = ancestors.GOLDEN / 'blip2_qformer_tiny.pth'
    done = tool('blip2.py', golden, out, '--num-heads', 2, '--dec-token-id', 4)
    assert done.returncode == 0, done.stderr
    assert '100.0 % of the expected' in done.stdout and out.is_file()
    assert 'ln_vision.weight' in done.stdout
    done = tool('cavmae.py', golden, out)
    assert done.returncode == 1
    assert done.stderr.startswith('Error: this is not a CAV-MAE checkpoint')
    assert len(done.stderr.splitlines()) == 1
