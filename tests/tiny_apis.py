"""Checkpoints of tiny models that carry their config, for the inferencer."""

import pytest
import tiny_coavt
import torch
from mmengine.config import Config

from coavt_mm.apis import caption, classify, embed, match, retrieve
from coavt_mm.checkpoints import config_to_json, save_weights
from coavt_mm.datasets.tokenizer import build_tokenizer
from coavt_mm.registry import MODELS

SECONDS, SIDE = 0.5, 32  # a window; the picture
CLASSES = ['dog', 'the barks', 'cat']


def pipeline(vocabulary, pick='middle', seconds=SECONDS) -> list[dict]:
    """A test pipeline that fits the tiny model."""
    return [
        dict(type='LoadFrames', num_frames=4, pick=pick),
        dict(
            type='IfVisual',
            transforms=[
                dict(type='mmaction.Resize', scale=(SIDE, SIDE), keep_ratio=False)
            ],
        ),
        dict(type='LoadAudio', seconds=seconds),
        dict(type='AllCaptions'),
        dict(type='TokenizeText', tokenizer=str(vocabulary), max_tokens=12),
        dict(type='PackAVTInputs'),
    ]


def preprocessor(frames=48) -> dict:
    """Spectrograms of so many frames (10 ms each) and 32 bins."""
    return dict(
        type='AVTDataPreprocessor', spec_frames=frames, logmel=dict(num_mel_bins=32)
    )


def coavt_cfg(vocabulary, pick='middle', seconds=SECONDS, **model) -> Config:
    """A run's config with a CoAVT for clips of 0.5 s or another length."""
    frames = 48 if seconds == SECONDS else 16 * int(100 * seconds / 16)
    pieces = len(build_tokenizer(str(vocabulary)))
    cfg = tiny_coavt.tiny_cfg()
    cfg['query_encoder'].update(vocab_size=pieces, max_tokens=50)
    cfg['text_encoder']['config'].update(vocab_size=pieces)
    cfg['lm_head'].update(vocab_size=pieces, dec_token_id=pieces - 1)
    cfg['av_encoder'].update(spec_size=(frames, 32))
    cfg.update(
        type='CoAVT',
        tokenizer=str(vocabulary),
        data_preprocessor=preprocessor(frames),
        **model,
    )
    dataset = dict(
        type='AVTDataset',
        ann_file='test.jsonl',
        pipeline=pipeline(vocabulary, pick, seconds),
        test_mode=True,
    )
    return Config(dict(model=cfg, test_dataloader=dict(dataset=dataset)))


def classifier_cfg(vocabulary, stream='AV') -> Config:
    """A run's config with a classifier of three classes."""
    cfg = coavt_cfg(vocabulary, pick='all')
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [
        t for t in dataset.pipeline if t.type not in ('AllCaptions', 'TokenizeText')
    ]
    dataset.classes = CLASSES
    head = dict(type='ClassificationHead', num_classes=3, embed_dims=16, loss='ce')
    model = dict(
        type='CoAVTClassifier',
        backbone=cfg.model.av_encoder,
        head=head,
        stream=stream,
        data_preprocessor=preprocessor(),
    )
    return Config(dict(model=model, test_dataloader=cfg.test_dataloader))


def save(cfg: Config, path, with_config=True):
    """Random weights of a config in a file."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    config = config_to_json(cfg, model) if with_config else None
    save_weights(model.state_dict(), path, config=config)
    return path


# each gives one answer a clip
CALLS = {
    'embed': lambda clips, **more: embed(clips, **more)['clips'],
    'retrieve': lambda clips, **more: sorted(
        retrieve('the dog', clips, topk=1000, **more)[0]['hits'],
        key=lambda hit: hit['index'],
    ),
    'clips to texts': lambda clips, **more: retrieve(clips, ['dog', 'the'], **more),
    're-ranked': lambda clips, **more: retrieve(
        clips, ['dog', 'the'], rerank=2, **more
    ),
    'classify': lambda clips, **more: classify(clips, ['dog', 'cat'], **more),
    'caption': lambda clips, **more: caption(clips, max_new_tokens=3, **more),
    'match': lambda clips, **more: match(clips, ['dog', 'barks'], **more),
}
call = pytest.mark.parametrize('call', CALLS.values(), ids=CALLS)
FUNCTIONS = ('embed', 'retrieve', 'classify', 'caption', 'match')
function = pytest.mark.parametrize('call', [CALLS[f] for f in FUNCTIONS], ids=FUNCTIONS)
