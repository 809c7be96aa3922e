"""Own checkpoints: weights alone, and back."""

import ancestors
import pytest
import tiny_coavt
import torch
from safetensors import safe_open

from coavt_mm.checkpoints import (
    combine,
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
