"""Hostile, damaged and wrapped checkpoint files; see test_compat.py for the others."""

import json
import os
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from coavt_mm.checkpoint_files import load_from_http, load_from_local, plain_names
from coavt_mm.errors import CheckpointError

WEIGHTS = {'layers.0.weight': torch.arange(3.0), 'norm.bias': torch.ones(2)}


@pytest.fixture
def said(monkeypatch):
    """What is logged, in one string a call."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lambda r: lines.append(r.getMessage()))
    return lines


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_python_source_is_left_out_and_said(tmp_path, said, suffix):
    path, meta = tmp_path / f'a.{suffix}', dict(config='import os', iter=3)
    if suffix == 'pth':
        torch.save(dict(state_dict=WEIGHTS, meta=meta), path)
    else:
        save_file(WEIGHTS, path, dict(coavt_mm=json.dumps(meta)))
    assert load_from_local(str(path), 'cpu')['meta'] == dict(iter=3)
    (line,) = said
    assert 'a.' in line and 'meta["config"] is left out' in line
    assert load_from_local(str(path), 'cpu')['state_dict'].keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    'before',
    ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.',
     'module.module.', '_orig_mod.module._orig_mod.module.'],
)  # fmt: skip
@pytest.mark.parametrize('key', ['state_dict', None])
def test_wrappers_leave_no_trace(tmp_path, before, key):
    path, state = tmp_path / 'a.pth', {before + k: v for k, v in WEIGHTS.items()}
    torch.save({key: state} if key else state, path)
    read = load_from_local(str(path))
    assert (read[key] if key else read).keys() == WEIGHTS.keys()
    assert [*state] == [before + k for k in WEIGHTS]


def test_an_average_of_a_compiled_model(tmp_path):
    average = {f'module._orig_mod.{k}': v for k, v in WEIGHTS.items()}
    average['steps'] = torch.tensor(4)
    state = {f'_orig_mod.{k}': v for k, v in WEIGHTS.items()}
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=state, ema_state_dict=average), path)
    read = load_from_local(str(path))
    assert read['state_dict'].keys() == WEIGHTS.keys()
    assert read['ema_state_dict'].keys() == {'steps', *(f'module.{k}' for k in WEIGHTS)}
    assert plain_names(average, 'x').keys() == WEIGHTS.keys()


def test_names_within_and_names_that_collide():
    names = {'encoder._orig_mod.module.a': 1, 'module.target.module.b': 2, 'steps.c': 3}
    assert plain_names(names, 'x') == {
        'encoder.module.a': 1,
        'target.module.b': 2,
        'steps.c': 3,
    }
    assert [*plain_names(names, 'x', inner=True)] == [
        'encoder.a',
        'target.b',
        'steps.c',
    ]
    with pytest.raises(CheckpointError, match="x: 'a' is there twice, .*'module.a'"):
        plain_names({'a': 1, 'module.a': 2}, 'x')
    with pytest.raises(CheckpointError, match='x: 5 is no name'):
        plain_names({5: 1}, 'x')


@pytest.mark.parametrize(
    'content',
    [
        dict(state_dict=WEIGHTS, meta=5),
        dict(state_dict=WEIGHTS, meta=['config']),
        dict(state_dict=WEIGHTS, meta=dict(dataset_meta=['a'])),
        dict(state_dict={5: torch.ones(1)}),
    ],
)
def test_parts_of_another_kind(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: ') as caught:
        load_from_local(str(tmp_path / 'a.pth'))
    assert '\n' not in str(caught.value)


class Calls:
    """Written as a call of what torch's unpickler allows."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'content',
    [
        Calls(bytearray, 1 << 62),
        {'x': Calls(np.dtype, 'no such type')},
        {'x': Calls(np.float64(0).__reduce__()[0], np.dtype('f8'), b'12')},
        {Calls(bytearray, 3): 1},
    ],
    ids=['memory', 'dtype', 'short scalar', 'unhashable key'],
)
def test_what_unpickling_stumbles_over_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: ') as caught:
        load_from_local(str(tmp_path / 'a.pth'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['[' * 100_000, '5', '{"config'])
def test_metadata_of_safetensors_that_is_no_dictionary(tmp_path, text):
    save_file(WEIGHTS, tmp_path / 'a.safetensors', dict(coavt_mm=text))
    with pytest.raises(CheckpointError, match='a.safetensors: '):
        load_from_local(str(tmp_path / 'a.safetensors'))


def test_one_name_at_two_addresses_is_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    asked = []

    def download(url, path, progress):
        asked.append(url)
        torch.save(dict(state_dict={'x': torch.tensor(len(asked))}), path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    one, two = (f'http://a.example/{part}/epoch_1.pth' for part in 'ab')
    values = [load_from_http(url)['state_dict']['x'].item() for url in (one, two, one)]
    assert values == [1, 2, 1] and asked == [one, two]
    assert load_from_http(f'{one}?v=2')['state_dict']['x'].item() == 3
    long = f'http://a.example/{"x" * 300}.pth'
    assert load_from_http(long)['state_dict']['x'].item() == 4
    assert all(len(os.fsencode(name)) < 255 for name in os.listdir(tmp_path))


def test_one_process_of_each_machine_downloads(tmp_path, monkeypatch):
    """Machines need not share a folder; those of one machine do."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    asked = []

    def download(url, path, progress):
        asked.append(os.environ['LOCAL_RANK'])
        torch.save(dict(state_dict={'x': torch.tensor(5)}), path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setenv('RANK', '8')  # the first of the second machine
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        load_from_http('http://a.example/x.pth')  # nobody has downloaded it
    monkeypatch.setenv('LOCAL_RANK', '0')
    assert load_from_http('http://a.example/x.pth')['state_dict']['x'] == 5
    assert asked == ['0']


@pytest.mark.parametrize('url', ['http://[::1/x.pth', 'https://a b/x.pth'])
def test_an_address_that_is_none(tmp_path, monkeypatch, url):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match='download failed'):
        load_from_http(url)


def test_a_packed_file_is_refused_before_it_fills_the_memory(tmp_path):
    torch.save(dict(state_dict=dict(w=torch.zeros(10**6))), tmp_path / 'a.pth')
    with (
        ZipFile(tmp_path / 'a.pth') as plain,
        ZipFile(tmp_path / 'b.pth', 'w', ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert os.path.getsize(tmp_path / 'b.pth') < 10**5
    with pytest.raises(CheckpointError, match=r'b\.pth: .*compressed'):
        load_from_local(str(tmp_path / 'b.pth'))


def test_a_changed_weight_without_a_checksum_is_said(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmengine.logging.print_log', lambda text, **_: lines.append(text)
    )
    path = tmp_path / 'x.pth'
    torch.save(dict(state_dict=dict(a=torch.arange(1000.0))), path)
    load_from_local(str(path), 'cpu')
    assert not lines
    content = path.read_bytes()
    number = np.float32(500).tobytes()
    path.write_bytes(content.replace(number, b'\0\0\0\0', 1))
    load_from_local(str(path), 'cpu')
    assert len(lines) == 1 and 'x.pth: x/data/0 differs from its sum' in lines[0]


def test_a_reason_as_long_as_the_file_is_cut(tmp_path, monkeypatch):
    def load(*_, **__):
        raise ValueError('x' * 100_000)

    monkeypatch.setattr(torch, 'load', load)
    path = tmp_path / 'x.pth'
    path.write_bytes(b'PK\x05\x06' + bytes(15))  # no archive, whatever it begins with
    with pytest.raises(CheckpointError, match='xxx') as caught:
        load_from_local(str(path))
    assert len(str(caught.value)) < 500
