"""The shared routine: what is read, and what is refused."""

import os

import ancestors
import pytest
import torch
from mmengine.registry import DefaultScope
from transformers import BertConfig, BertModel

from coavt_mm.checkpoints import (
    convert_bert,
    convert_blip2,
    convert_cavmae,
    convert_vit,
)
from coavt_mm.checkpoints.conversion import Report, Rule, read_state_dict, rename
from coavt_mm.errors import CheckpointError

CONVERTERS = [convert_cavmae, convert_vit, convert_bert, convert_blip2]


class Code:
    """Runs a command when unpickled carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('convert', CONVERTERS)
def test_another_kind_truncated_missing_and_code(convert, tmp_path):
    with pytest.raises(CheckpointError, match='this is not a'):
        convert(ancestors.resnet())
    whole = (ancestors.GOLDEN / 'cavmae_tiny.pth').read_bytes()
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match='cut off|damaged'):
        convert(cut)
    with pytest.raises(CheckpointError, match='no such'):
        convert(tmp_path / 'absent.pth')
    trap, path = tmp_path / 'trap', tmp_path / 'code.pth'
    torch.save({'model': Code(str(trap))}, path)
    with pytest.raises(CheckpointError, match='could run code'):
        convert(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ({}, 'no state dict'),
        ({'state_dict': {}}, 'no state dict'),
        ({'state_dict': {'a': 3}}, "'a' is not a tensor"),
        ({'epoch': 3, 'best': 0.1}, 'is not a tensor'),
    ],
)
def test_what_holds_no_weights_is_refused(source, message):
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(source)


def test_damaged_safetensors_are_refused(tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(b'nonsense that is long enough')
    with pytest.raises(CheckpointError, match='damaged'):
        read_state_dict(path)


def test_rename_accounts_for_every_tensor():
    report = Report('toy')
    table = [
        Rule(r'a\.(\d)', [r'x.\1', r'y.\1']),
        Rule(r'b', reason='not needed'),
        Rule(r'c', ['z'], 'summed', lambda t: t.sum(0, keepdim=True)),
    ]
    state = {name: torch.ones(2, 2) for name in ('a.1', 'b', 'c', 'd')}
    new = rename(state, table, report)
    assert set(new) == {'x.1', 'y.1', 'z'}
    assert report.dropped == {'b': 'not needed'}
    assert report.unexpected == ['d']
    assert report.changed == {'z': '(2, 2) -> (1, 2), summed'}
    report.missing = ['w']
    assert report.share == 0.75
    for line in ('75.0 %', 'a.1 -> x.1', 'b: not needed', '  w', '  d'):
        assert line in str(report)


def test_layers_and_equal_reasons_are_said_once():
    unused = 'never runs'
    report = Report(
        'toy',
        matched={f'new.{i}.mlp.0.w': f'old.{i}.fc.w' for i in range(12)},
        dropped={f'old.{i}.{n}.w': unused for i in range(12) for n in 'ab'},
    )
    report.dropped['head.3.w'] = 'no head'
    lines = str(report).splitlines()
    assert '  old.*.fc.w -> new.*.mlp.0.w (12)' in lines
    first = lines.index('  never runs:')
    assert lines[first + 1 :][:2] == ['    old.*.a.w (12)', '    old.*.b.w (12)']
    assert '  head.3.w: no head' in lines and len(lines) < 15


@pytest.mark.parametrize(
    ('convert', 'state'),
    [
        (convert_cavmae, lambda: ancestors.cavmae(32)),
        (convert_bert, lambda: BertModel(BertConfig(
            hidden_size=24, num_hidden_layers=1, intermediate_size=8)).state_dict()),
        (convert_blip2, lambda: ancestors.blip2(20)),
    ],
)  # fmt: skip
def test_the_number_of_heads_is_asked_for(convert, state):
    with pytest.raises(
        CheckpointError, match='attention heads; .* say it: --num-heads'
    ):
        convert(state(), num_heads=7)


def test_two_names_for_one_tensor_are_an_error():
    state = {'p.a': torch.ones(1), 'q.a': torch.ones(1)}
    with pytest.raises(CheckpointError, match='two ways of naming'):
        rename(state, [Rule(r'\w\.a', ['a'])], Report('toy'))


def test_the_default_scope_of_the_process_does_not_matter():
    state = ancestors.blip2(24, context=24)
    with DefaultScope.overwrite_default_scope('mmaction'):
        converted = convert_blip2(state, num_heads=2)
    assert converted.report.share == 1
