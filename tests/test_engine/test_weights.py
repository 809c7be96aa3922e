"""Weights by config: the log says what was loaded, a misfit stops the run."""

import runpy
import sys
from pathlib import Path

import ancestors
import pytest
import timm
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


def runner(tmp_path, model, **options):
    register_checkpoint_loader()
    return Runner(
        model=model,
        work_dir=str(tmp_path / 'work'),
        custom_hooks=[dict(type='coavt_mm.FitCheckpointHook', **options)],
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


@pytest.fixture
def tool(monkeypatch, capsys):
    """Runs a converter command in this process: exit status, stdout, stderr."""

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        status = 0
        try:
            runpy.run_path(str(ROOT / 'tools/converters' / name), run_name='__main__')
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_every_command_writes_weights_and_a_report(tool, tmp_path):
    bert, vit = tmp_path / 'bert.pth', tmp_path / 'vit.pth'
    torch.save(tiny_coavt.tiny_coavt().text_encoder.bert.state_dict(), bert)
    names = dict(class_token=False, global_pool='avg', fc_norm=False)
    sizes = dict(img_size=32, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    torch.save(timm.models.VisionTransformer(**sizes, **names).state_dict(), vit)
    blip2 = ancestors.GOLDEN / 'blip2_qformer_tiny.pth'
    cavmae = ancestors.GOLDEN / 'cavmae_tiny.pth'
    for name, source, options in (
        ('blip2.py', blip2, ['--dec-token-id', 4]),
        ('cavmae.py', cavmae, ['--spec-size', 80, 128]),
        ('bert.py', bert, ['--target', 'QueryEncoder', '--context-dims', 7]),
        ('vit.py', vit, ['--spec-size', 32, 48, '--img-size', 64]),
    ):
        out = tmp_path / 'out' / f'{name}.safetensors'
        status, said, _ = tool(name, source, out, '--num-heads', 2, *options)
        assert status == 0 and out.is_file()
        assert '100.0 % of the expected' in said and 'model = ' in said
    both = tmp_path / 'both.pth'
    status, said, _ = tool(
        'own.py',
        both,
        tmp_path / 'out/blip2.py.safetensors',
        f'av_encoder={tmp_path / "out/cavmae.py.safetensors"}',
    )
    state = torch.load(both, weights_only=True)['state_dict']
    assert status == 0 and f'{len(state)} tensors' in said
    assert 'av_encoder.norm.AV.bias' in state and 'matching_head.fc.bias' in state


def test_a_command_refuses_in_one_line(tool, tmp_path):
    source = ancestors.GOLDEN / 'blip2_qformer_tiny.pth'
    status, _, error = tool('cavmae.py', source, tmp_path / 'x.pth')
    assert status == 1 and not (tmp_path / 'x.pth').exists()
    assert error.startswith('Error: this is not a CAV-MAE checkpoint')
    assert len(error.splitlines()) == 1


def coavt_file(path):
    model = tiny_coavt.tiny_coavt()
    torch.save(dict(state_dict=model.state_dict()), path)
    return model


def classifier(**options):
    cfg = tiny_coavt.tiny_cfg()
    head = dict(type='ClassificationHead', num_classes=4, embed_dims=16)
    return MODELS.build(
        dict(type='CoAVTClassifier', backbone=cfg['av_encoder'],
             **{'head': head, **options})
    )  # fmt: skip


RENAME = dict(rename=dict(av_encoder='backbone'))


@pytest.mark.parametrize('queries', [False, True])
def test_a_classifier_starts_from_a_coavt(tmp_path, monkeypatch, queries):
    source, lines = tmp_path / 'x.pth', []
    coavt = coavt_file(source)
    options = {}
    if queries:
        options['query_encoder'] = tiny_coavt.tiny_cfg()['query_encoder']
        options['head'] = dict(type='ClassificationHead', num_classes=4, embed_dims=20)
    run = runner(tmp_path, classifier(**options), **RENAME)
    monkeypatch.setattr(run.logger, 'info', lines.append)
    run.load_checkpoint(str(source))
    got = run.model.state_dict()
    for name, tensor in coavt.av_encoder.state_dict().items():
        assert torch.equal(got[f'backbone.{name}'], tensor)
    if queries:
        for name, tensor in coavt.query_encoder.state_dict().items():
            assert torch.equal(got[f'query_encoder.{name}'], tensor)
    assert 'av_encoder goes into backbone' in lines
    assert any(line.startswith('text_encoder (') for line in lines)
    assert ('query_encoder goes into query_encoder' in lines) == queries


def test_a_classifiers_own_checkpoint_is_not_renamed(tmp_path):
    source = tmp_path / 'x.pth'
    own = classifier()
    torch.save(dict(state_dict=own.state_dict()), source)
    run = runner(tmp_path, classifier(), **RENAME)
    run.load_checkpoint(str(source))
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, own.state_dict()[name])


@pytest.mark.parametrize('classes', [4, 7])
def test_a_head_of_other_classes_begins_anew(tmp_path, classes):
    source = tmp_path / 'x.pth'
    head = dict(type='ClassificationHead', num_classes=classes)
    given = classifier(head=head).state_dict()
    torch.save(dict(state_dict=given), source)
    own = classifier(head=dict(head, num_classes=4))
    run = runner(tmp_path, own, renew=['head'])
    run.load_checkpoint(str(source))
    same = {name for name, tensor in run.model.state_dict().items()
            if torch.equal(tensor, given[name])}  # fmt: skip
    assert {name for name in given if name.startswith('backbone.')} <= same
    assert ('head.fc.weight' in same) == (classes == 4)


def test_renaming_does_not_excuse_a_misfit(tmp_path):
    source = tmp_path / 'x.pth'
    torch.save(dict(state_dict={'av_encoder.other': torch.ones(3)}), source)
    run = runner(tmp_path, classifier(), **RENAME)
    with pytest.raises(CheckpointError, match='0 of 1 tensors'):
        run.load_checkpoint(str(source))
