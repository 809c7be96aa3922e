"""Own checkpoints: weights alone, and back."""

import json
import runpy
import sys
from pathlib import Path

import ancestors
import pytest
import tiny_apis
import tiny_coavt
import torch
from safetensors import safe_open

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.checkpoint_files import load_from_local
from coavt_mm.checkpoints import (
    carried_config,
    combine,
    convert_bert,
    convert_cavmae,
    export_safetensors,
    load_weights,
    save_weights,
)
from coavt_mm.errors import CheckpointError


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[k], right[k]) for k in left
    )


def test_training_checkpoint_to_safetensors_and_back(tmp_path):
    model = tiny_coavt.tiny_coavt()
    trained, out = tmp_path / 'iter_3.pth', tmp_path / 'sub' / 'weights.safetensors'
    torch.save(
        dict(state_dict=model.state_dict(), optimizer={'state': {}}, meta={}), trained
    )
    assert export_safetensors(trained, out) == len(model.state_dict())
    other = tiny_coavt.tiny_coavt()
    torch.nn.init.zeros_(other.query_encoder.query_tokens)
    load_weights(out, other)
    assert same(other.state_dict(), model.state_dict())
    with pytest.raises(CheckpointError, match='must end with'):
        export_safetensors(trained, tmp_path / 'weights.pth')


def test_the_config_lies_beside_the_weights(tmp_path):
    converted = convert_cavmae(ancestors.cavmae(), 2)
    path = tmp_path / 'x.safetensors'
    save_weights(converted.state_dict, path, converted.model_cfg)
    with safe_open(path, 'pt') as file:
        assert '"type": "JointAVEncoder"' in file.metadata()['coavt_mm']
    save_weights(converted.state_dict, tmp_path / 'x.pth', converted.model_cfg)
    read = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert read['meta']['model_cfg'] == converted.model_cfg
    assert same(read['state_dict'], converted.state_dict)


def test_prefix_other_size_and_what_stays(tmp_path):
    model = tiny_coavt.tiny_coavt()
    cfg = tiny_coavt.tiny_cfg()['av_encoder']
    longer = tiny_coavt.tiny_coavt(av_encoder=dict(cfg, spec_size=(80, 32)))
    lines = load_weights(model.state_dict(), longer.av_encoder, 'av_encoder')
    assert '2 x 3 to 2 x 5' in lines[-1]
    part = {
        k: v for k, v in model.state_dict().items() if k.startswith('query_encoder')
    }
    with pytest.raises(CheckpointError, match='not in the checkpoint: av_encoder'):
        load_weights(part, model)
    lines = load_weights(part, model, strict=False)
    assert 'not in the checkpoint' in lines[1]


@pytest.mark.parametrize('strict', [True, False])
def test_nothing_that_fits_is_an_error(strict):
    model = tiny_coavt.tiny_coavt()
    with pytest.raises(CheckpointError, match='0 of 2 tensors'):
        load_weights(ancestors.resnet(), model, strict=strict)
    with pytest.raises(CheckpointError, match='0 of 0 tensors'):
        load_weights(model.state_dict(), model, 'backbone', strict=strict)
    wrong = dict(model.state_dict())
    wrong['matching_head.fc.weight'] = torch.zeros(2, 3)
    with pytest.raises(CheckpointError, match='of another shape: matching_head.fc'):
        load_weights(wrong, model, strict=strict)


def test_parts_are_put_together():
    model = tiny_coavt.tiny_coavt()
    whole = model.state_dict()
    encoder = model.av_encoder.state_dict()
    rest = {k: v for k, v in whole.items() if not k.startswith('av_encoder.')}
    assert combine([('', rest), ('av_encoder', encoder)]).keys() == whole.keys()
    with pytest.raises(CheckpointError, match='two of the parts'):
        combine([('', whole), ('av_encoder', encoder)])


WRAPPED = {
    'ddp': lambda name: f'module.{name}',
    'compiled ddp': lambda name: f'_orig_mod.module.{name}',
    'ddp of a compiled': lambda name: f'module._orig_mod.{name}',
    'average of that': lambda name: f'module.module._orig_mod.{name}',
    'a compiled part': lambda name: name.replace('encoder.', 'encoder._orig_mod.'),
    'a part in ddp': lambda name: name.replace('encoder.', 'encoder.module.'),
    'all of it': lambda name: (
        'module.' + name.replace('encoder.', 'encoder._orig_mod.module.')
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('rename', WRAPPED.values(), ids=WRAPPED)
def test_wrapped_weights_load_and_export_under_plain_names(tmp_path, rename):
    model, other = tiny_coavt.tiny_coavt(), tiny_coavt.tiny_coavt()
    state = {rename(name): value for name, value in model.state_dict().items()}
    if rename('').startswith('module.module'):
        state['n_averaged'] = torch.tensor(3)
    assert not state.keys() & {'av_encoder.norm.AV.bias'}
    torch.nn.init.zeros_(other.query_encoder.query_tokens)
    load_weights(state, other)
    assert same(other.state_dict(), model.state_dict())
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    load_weights(tmp_path / 'x.pth', torch.compile(other))
    export_safetensors(tmp_path / 'x.pth', tmp_path / 'x.safetensors')
    read = load_from_local(str(tmp_path / 'x.safetensors'))['state_dict']
    assert same(read, model.state_dict())


def test_no_part_is_called_as_a_wrapper(vocabulary):
    names = [*tiny_coavt.tiny_coavt().state_dict()]
    assert not {'module', '_orig_mod'} & {p for n in names for p in n.split('.')}


def test_the_api_loads_wrapped_weights(tmp_path, vocabulary):
    path = tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), tmp_path / 'x.pth')
    content = torch.load(path, weights_only=True)
    plain = content['state_dict']
    content['state_dict'] = {f'_orig_mod.module.{k}': v for k, v in plain.items()}
    torch.save(content, path)
    loaded = CoAVTInferencer(weights=path, device='cpu', show_progress=False)
    assert same(loaded.model.state_dict(), plain)


@pytest.fixture
def own(monkeypatch, capsys):
    """Runs the command in this process: exit status, stdout, stderr."""
    path = str(Path(__file__).parents[2] / 'tools/converters/own.py')

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def test_the_command_writes_plain_names(own, tmp_path, vocabulary):
    source, out = tmp_path / 'lr=1e-4' / 'x.pth', tmp_path / 'out.safetensors'
    source.parent.mkdir()
    tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), source)
    content = torch.load(source, weights_only=True)
    plain = content['state_dict']
    content['state_dict'] = {f'module._orig_mod.{k}': v for k, v in plain.items()}
    torch.save(content, source)
    status, said, _ = own(out, source)
    assert status == 0 and 'as its config asks' in said
    read = load_from_local(str(out))
    assert same(read['state_dict'], plain)
    assert carried_config(read) == content['meta']['coavt_config']


@pytest.mark.parametrize(
    'spoil, reason',
    [
        (lambda s: {f'network.{k}': v for k, v in s.items()}, 'not in the model'),
        (lambda s: dict([*s.items()][1:]), '1 not in the checkpoint'),
        (lambda s: {**s, 'lm_head.bias': torch.zeros(3)}, 'of another shape'),
    ],
)
def test_the_command_refuses_weights_of_another_config(
    own, tmp_path, vocabulary, spoil, reason
):
    source, out = tmp_path / 'x.pth', tmp_path / 'out.pth'
    tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), source)
    content = torch.load(source, weights_only=True)
    content['state_dict'] = spoil(content['state_dict'])
    torch.save(content, source)
    status, _, error = own(out, source)
    assert status == 1 and not out.exists()
    assert error.startswith(f'Error: {source}: of its stored config the weights do not')
    assert reason in error and len(error.splitlines()) == 1
    with pytest.raises(CheckpointError, match='stored config'):
        export_safetensors(source, tmp_path / 'out.safetensors')


def test_the_command_refuses_a_config_that_no_reader_takes(own, tmp_path, vocabulary):
    source, out = tmp_path / 'x.pth', tmp_path / 'out.pth'
    tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), source)
    content = torch.load(source, weights_only=True)
    config = json.loads(content['meta']['coavt_config'])
    config['model']['text_encoder']['config']['vocab_size'] = 10**11
    content['meta']['coavt_config'] = json.dumps(config)
    torch.save(content, source)
    status, _, error = own(out, source)
    assert status == 1 and not out.exists() and len(error.splitlines()) == 1
    assert error.startswith(f'Error: {source}: the model of its stored config has')


def test_the_command_says_what_it_could_not_compare(own, tmp_path):
    torch.save({'module.x': torch.ones(1)}, tmp_path / 'x.pth')
    status, said, _ = own(tmp_path / 'out.pth', tmp_path / 'x.pth')
    assert status == 0 and 'compared with no config' in said
    assert [*load_from_local(str(tmp_path / 'out.pth'))['state_dict']] == ['x']


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_a_file_written_anew_has_no_checksum_of_the_one_before(tmp_path, name):
    path = tmp_path / name
    path.with_name(f'{name}.sha256').write_text('0' * 64)
    save_weights({'w': torch.ones(2)}, path)
    assert load_from_local(str(path))['state_dict']['w'].tolist() == [1, 1]


@pytest.mark.parametrize('content', [[1], None, 5, torch.ones(2), {}])
def test_what_holds_no_weights_is_not_exported(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: holds no state dict'):
        export_safetensors(tmp_path / 'a.pth', tmp_path / 'x.safetensors')


def test_a_view_that_shows_a_number_many_times_is_not_copied(tmp_path):
    torch.save(dict(w=torch.zeros(1).expand(10**12)), tmp_path / 'a.pth')
    for read in (convert_bert, lambda p: export_safetensors(p, 'x.safetensors')):
        with pytest.raises(CheckpointError, match=r"a\.pth: 'w' shows 1000000000000"):
            read(tmp_path / 'a.pth')
