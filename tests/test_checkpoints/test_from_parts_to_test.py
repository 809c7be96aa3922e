"""One command converts, one config line uses it, and tools/test.py runs on the result,
as docs/checkpoints.md tells it."""

import json
import re
import runpy
import sys
from pathlib import Path

import ancestors
import pytest
import torch
from mmengine.config import Config
from transformers import BertConfig, BertModel

from coavt_mm.demo import Settings, make_sounding_shapes

ROOT = Path(__file__).parents[2]
DIMS = 24


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Runs a tool in this process, in a folder with a few clips."""

    def run(name, *arguments):
        path = ROOT / 'tools' / f'{name}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name='__main__')

    monkeypatch.chdir(tmp_path)
    make_sounding_shapes(Path('data/sounding_shapes'), Settings(4, 4, 4), 1)
    return run


def write_ancestors(encoder, vocab_size):
    """CAV-MAE, BERT and BLIP-2 for the demo's clips and vocabulary."""
    torch.manual_seed(0)
    (frames, bins), side = encoder.spec_size, encoder.img_size
    grid = (bins // 16, frames // 16)
    torch.save(ancestors.cavmae(DIMS, grid=grid, side=side // 16), 'audio_model.25.pth')
    state = ancestors.blip2(DIMS, context=DIMS, vocab=vocab_size, texts=64)
    torch.save(state, 'blip2_pretrained.pth')
    bert = BertConfig(
        vocab_size=vocab_size, hidden_size=DIMS, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=30, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(bert).save_pretrained('DIR')


def model_cfg(name):
    """What the converter wrote beside the weights."""
    return torch.load(f'{name}.pth', weights_only=True)['meta']['model_cfg']


@pytest.mark.slow
def test_convert_use_and_test(tool, tmp_path, capsys):
    cfg = Config.fromfile(ROOT / 'configs/coavt/retrieval_demo.py')
    head = cfg.model.lm_head
    write_ancestors(cfg.model.av_encoder, cfg.model.query_encoder.vocab_size)
    tool('converters/cavmae', 'audio_model.25.pth', 'cavmae.pth', '--num-heads', 2)
    tool('converters/bert', 'DIR', 'bert.pth')
    tool(
        'converters/blip2', 'blip2_pretrained.pth', 'blip2.pth', '--num-heads', 2,
        '--dec-token-id', head.dec_token_id, '--end-token-id', head.end_token_id,
    )  # fmt: skip
    assert capsys.readouterr().out.count('100.0 % of the expected tensors matched') == 3
    parts = ('av_encoder=cavmae.pth', 'text_encoder=bert.pth')
    tool('converters/own', 'all.pth', 'blip2.pth', *parts)

    cfg.model = dict(
        model_cfg('blip2'),
        data_preprocessor=cfg.model.data_preprocessor,
        av_encoder=model_cfg('cavmae'),
        text_encoder=model_cfg('bert'),
        tokenizer=cfg.model.tokenizer,
        test_cfg=cfg.model.test_cfg,
    )
    cfg.dump('config.py')
    tool('test', 'config.py', 'all.pth', '--cfg-options',
         'test_dataloader.num_workers=0')  # fmt: skip
    assert re.search(r'text -> clip \| cosine +\| AV', capsys.readouterr().out)
    report = json.loads(Path('work_dirs/demo/retrieval.json').read_text())
    assert report['checkpoint'] == 'all.pth'

    tool(
        'train', 'config.py', '--cfg-options',
        'model.av_encoder.init_cfg.type=Converted',
        'model.av_encoder.init_cfg.checkpoint=cavmae.pth',
        'optim_wrapper.optimizer.lr=0', 'train_cfg.max_iters=1',
        'train_cfg.val_begin=2', 'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False', '--work-dir', tmp_path / 'run',
    )  # fmt: skip
    start = torch.load('cavmae.pth', weights_only=True)['state_dict']
    count = len(start)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'JointAVEncoder from cavmae.pth' in log
    assert f'{count} of {count} tensors of the checkpoint go into {count} of' in log
    end = torch.load('run/iter_1.pth', weights_only=True)['state_dict']
    for name, tensor in start.items():
        assert torch.equal(end[f'av_encoder.{name}'], tensor), name
