"""What is no peer, or half of one, is said in one line."""

import json
import shutil

import numpy as np
import pytest
import tiny_peers
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from coavt_mm.apis import load_model
from coavt_mm.checkpoint_files import names_peer
from coavt_mm.cli.checks import check_checkpoint
from coavt_mm.cli.options import set_tested
from coavt_mm.errors import CheckpointError, ClipError, ConfigError, InputError
from coavt_mm.evaluation import RetrievalMetric


@pytest.fixture
def copy(folder, tmp_path):
    """A CLIP whose files may be changed."""
    return shutil.copytree(folder('clip'), tmp_path / 'clip')


@pytest.mark.parametrize(
    ('place', 'is_peer'),
    [
        ('laion/clap-htsat-unfused', True),
        ('facebook/pe-av-base-16-frame', True),
        ('org/model-v1.5', True),
        ('runs/checkpoint.pth', False),
        ('runs/model.safetensors', False),
        ('checkpoint', False),
        ('/no/such/folder', False),
        ('a/b/c', False),
    ],
)
def test_names(place, is_peer):
    assert names_peer(place) == is_peer


def test_a_folder_is_looked_at_before_torch(tmp_path, copy, monkeypatch):
    with pytest.raises(CheckpointError, match='a folder without config.json'):
        check_checkpoint(str(tmp_path))
    (tmp_path / 'iter_20.pth').touch()
    with pytest.raises(CheckpointError, match='or one of its checkpoints: iter_20.pth'):
        check_checkpoint(str(tmp_path))
    (copy / 'model.safetensors').rename(copy / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match='no weights as safetensors'):
        check_checkpoint(str(copy))
    monkeypatch.setattr('coavt_mm.datasets.hub.hub_answers', lambda: False)
    with pytest.raises(CheckpointError, match='no such folder, not in the cache'):
        check_checkpoint('nobody/nothing')


def test_other_kinds_and_damage(copy):
    def refused(match):
        with pytest.raises(CheckpointError, match=match) as error:
            load_model(copy)
        assert '\n' not in str(error.value)

    weights = load_file(copy / 'model.safetensors')
    lost = weights.pop('text_projection.weight')
    save_file(weights, copy / 'model.safetensors', metadata=dict(format='pt'))
    refused('1 tensors are missing or of another shape, such as text_projection')
    weights['text_projection.weight'] = lost[:3]
    save_file(weights, copy / 'model.safetensors', metadata=dict(format='pt'))
    refused('text_projection')
    (copy / 'model.safetensors').write_bytes(b'no weights')
    refused('can not be loaded')
    settings = json.loads((copy / 'config.json').read_text())
    (copy / 'config.json').write_text(json.dumps(dict(settings, model_type='bert')))
    refused('is a bert; a PeerEncoder takes clap, clip, siglip, pe_audio_video')
    (copy / 'config.json').write_text('{')
    refused('no JSON')


def test_no_code_of_a_folder_is_run(copy, tmp_path):
    (copy / 'code.py').write_text(f"open(r'{tmp_path / 'ran'}', 'w')\n")
    settings = json.loads((copy / 'config.json').read_text())
    settings['auto_map'] = dict(AutoModel='code.Model', AutoConfig='code.Config')
    (copy / 'config.json').write_text(json.dumps(settings))
    assert load_model(copy, show_progress=False).model.streams == ('V',)
    assert not (tmp_path / 'ran').exists()


def test_an_old_transformers_is_told(folder, monkeypatch):
    import transformers

    place = folder('clip')
    monkeypatch.setattr(transformers, '__version__', '4.57.6')
    told = r'is a clip, which needs transformers 5\.0 or newer; 4\.57\.6 is installed'
    with pytest.raises(ConfigError, match=told):
        load_model(place)


def test_what_a_peer_does_not_do(peer, folder, short, tmp_path):
    clip, sound = peer('clip'), tiny_peers.RATE // 2
    for ask in (
        lambda: clip.caption(short),
        lambda: clip.match(short, 'a dog'),
        lambda: clip.visualize(short, tmp_path),
        lambda: clip.retrieve('a dog', short, rerank=1),
    ):
        with pytest.raises(ConfigError, match='PeerEncoder'):
            ask()
    with pytest.raises(ClipError, match='no picture, and sound is not read'):
        waveform = np.zeros(sound, np.float32) + 0.1
        clip.embed(dict(audio=(waveform, tiny_peers.RATE)), windows=False)
    with pytest.raises(InputError, match='takes no config'):
        load_model(folder('clip'), config=dict(model=dict(type='CoAVT')))
    metric = RetrievalMetric(modes=('cosine', 'matching'))
    metric.model = clip.model
    with pytest.raises(ConfigError, match='which this PeerEncoder lacks'):
        metric.record({})
    assert clip.texts.lost(['a dog ' * 9])[0]['cut_off'].startswith('a dog')


def test_a_config_of_the_other_kind(folder):
    cfg = Config(dict(model=dict(type='CoAVT')))
    with pytest.raises(ConfigError, match='a folder or hub id, and the model of this'):
        set_tested(cfg, str(folder('clip')))
    cfg = Config(dict(model=dict(type='PeerEncoder')))
    with pytest.raises(ConfigError, match=r'a\.pth is a checkpoint file'):
        set_tested(cfg, 'a.pth')
