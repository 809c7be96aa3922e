"""The recipes of pre-training, small, as their first lines tell them."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import ancestors
import pytest
import torch
from transformers import BertConfig, BertModel

from coavt_mm.cli import launch
from coavt_mm.demo import Settings, make_sounding_shapes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DIMS = 24

# sizes alone; data, losses and schedule stay
TINY = """
_base_ = {base!r}
pieces = len(open('DIR/vocab.txt').read().split()) + 1
sizes = dict(embed_dims={dims}, num_heads=2)
model = dict(
    data_preprocessor=dict(spec_frames=64),
    av_encoder=dict(
        **sizes, depths=(1, 1, 1), spec_size=(64, 128), mlp_ratio=1.5),
    text_encoder=dict(config=dict(
        vocab_size=pieces, hidden_size={dims}, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=30, max_position_embeddings=64)),
    query_encoder=dict(
        **sizes, num_queries=3, depth=2, hidden_dims=30, vocab_size=pieces,
        max_tokens=64),
    contrastive_head=dict(proj_dims=8),
    lm_head=dict(dec_token_id=5, end_token_id=3),
)
train_dataloader = dict(
    batch_size=3, num_workers=0, persistent_workers=False, pin_memory=False)
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
train_cfg = dict(max_iters=4, val_interval=4)
param_scheduler = None
default_hooks = dict(checkpoint=dict(interval=2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two corpora and BERT as a directory."""
    monkeypatch.chdir(tmp_path)
    make_sounding_shapes(Path('shapes'), Settings(5, 2, 4), 1)
    for name in ('data/vggsound', 'data/audiocaps'):
        shutil.copytree('shapes', name)
    rows = [json.loads(x) for x in Path('shapes/train.jsonl').read_text().splitlines()]
    bare = [{k: v for k, v in row.items() if 'captions' not in k} for row in rows]
    text = '\n'.join(map(json.dumps, bare))
    Path('data/vggsound/train.jsonl').write_text(text)  # labels alone
    torch.manual_seed(0)
    pieces = len(Path('shapes/vocab.txt').read_text().split())
    bert = BertConfig(
        vocab_size=pieces, hidden_size=DIMS, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=30, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(bert).save_pretrained('DIR')
    shutil.copy('shapes/vocab.txt', 'DIR/vocab.txt')
    return tmp_path


def write_config(name):
    base = str(ROOT / f'configs/coavt/{name}.py')
    text = TINY.replace('{base!r}', repr(base)).replace('{dims}', str(DIMS))
    Path(f'{name}.py').write_text(text)
    return f'{name}.py'


def log_of(work_dir):
    return ''.join(path.read_text() for path in Path(work_dir).glob('*/*.log'))


def test_from_cavmae_and_bert_with_the_tokenizer_said_once(folder, monkeypatch):
    def convert(name, *arguments):
        path = ROOT / f'tools/converters/{name}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
        runpy.run_path(str(path), run_name='__main__')

    state = ancestors.cavmae(DIMS, (1, 1, 1), grid=(8, 4), side=14)
    torch.save(state, 'audio_model.25.pth')
    convert('cavmae', 'audio_model.25.pth', 'cavmae.pth', '--num-heads', '2')
    pieces = len(Path('DIR/vocab.txt').read_text().split())
    convert('bert', 'DIR', 'bert.pth', '--vocab-size', str(pieces + 1))
    convert('bert', 'DIR', 'queries.pth', '--target', 'QueryEncoder',
            '--vocab-size', str(pieces + 1), '--num-queries', '3',
            '--context-dims', str(DIMS))  # fmt: skip
    launch.train([
        write_config('pretrain_vggsound_cavmae_bert'), '--work-dir', 'run',
        '--cfg-options', 'tokenizer=DIR', 'optim_wrapper.optimizer.lr=0',
    ])  # fmt: skip
    log = log_of('run')
    for part in ('cavmae', 'bert', 'queries'):
        weights = torch.load(f'{part}.pth', weights_only=True)['state_dict']
        count = len(weights)
        assert f'from {part}.pth' in log
        assert f'{count} of {count} tensors of the checkpoint go into' in log
    end = torch.load('run/iter_4.pth', weights_only=False)['state_dict']
    start = torch.load('bert.pth', weights_only=True)['state_dict']
    assert all(torch.equal(end[f'text_encoder.{x}'], start[x]) for x in start)
    assert [path.name for path in Path('run').glob('best_*.pth')] == [
        'best_clip_to_text_AV_R1_iter_4.pth'
    ]
    assert 'shapes' in log and 'equal texts are right' in log


def test_two_data_sets_go_on_where_they_were(folder):
    config = write_config('pretrain_vggsound_audiocaps')

    def train(name, *options, resume=()):
        launch.train([config, '--work-dir', name, *resume, '--cfg-options',
                      'tokenizer=DIR', *options])  # fmt: skip
        return torch.load(f'{name}/iter_4.pth', weights_only=False)

    whole = train('whole')
    # 12 samples of 10 clips: the second epoch has begun
    assert whole['message_hub']['runtime_info']['samples_seen'] == 12
    train('broken')
    Path('broken/last_checkpoint').write_text('broken/iter_2.pth')
    Path('broken/iter_4.pth').unlink()
    resumed = train('broken', resume=['--resume'])
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name
