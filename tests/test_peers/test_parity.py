"""Features are those of transformers, asked as its documentation asks it."""

import numpy as np
import pytest
import tiny_peers
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoProcessor

FRAMES, RATE = 5, tiny_peers.RATE
TEXTS = ['a dog barks', 'the red ball rings while it barks', 'bell']


@pytest.fixture(scope='module')
def media():
    """Frames (F, H, W, 3) uint8, and sound of 0.8 s."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, 45, 70, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, int(0.8 * RATE)).astype(np.float32)
    return frames, sound


@pytest.fixture
def theirs(folder):
    """Kind -> model and processor, as a user of transformers loads them."""

    def get(kind):
        model = AutoModel.from_pretrained(folder(kind)).eval()
        return model, AutoProcessor.from_pretrained(folder(kind))

    return get


def _batch(media, samples=None):
    """A clip, packed and collated as the inferencer does."""
    frames, sound = media
    from mmengine.structures import BaseDataElement

    about = dict(sample_id='x', has_visual=frames is not None, sample_rate=RATE)
    about['audio_samples'] = 0 if sound is None else len(sound)
    pixels = None if frames is None else torch.from_numpy(frames.transpose(0, 3, 1, 2))
    waveform = None
    if sound is not None:  # filled up with zeros, as LoadAudio does
        waveform = F.pad(torch.from_numpy(sound), (0, 5000))
    return dict(
        inputs=dict(frames=[pixels], waveform=[waveform]),
        data_samples=[BaseDataElement(metainfo=about)],
    )


@torch.no_grad()
def _ours(peer, kind, media):
    model = peer(kind).model
    inputs = model.data_preprocessor(_batch(media))['inputs']
    return {s: x[0, :, 0] for s, x in model.extract(inputs)['clip_feats'].items()}


def _close(ours, theirs):
    theirs = F.normalize(theirs.float(), dim=-1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def _pooled(output):
    return output if torch.is_tensor(output) else output.pooler_output


@torch.no_grad()
def test_clap(peer, theirs, media):
    model, processor = theirs('clap')
    sound = processor.feature_extractor(
        media[1], sampling_rate=RATE, return_tensors='pt'
    )
    ours = _ours(peer, 'clap', media)
    assert ours.keys() == {'A'}
    _close(ours['A'], _pooled(model.get_audio_features(**sound)))
    read = processor.tokenizer(TEXTS, padding=True, return_tensors='pt')
    words = {k: read[k] for k in ('input_ids', 'attention_mask')}
    _close(
        peer('clap').model.embed_sentences(TEXTS),
        _pooled(model.get_text_features(**words)),
    )
    scale = model.logit_scale_a.exp()
    cosines = torch.tensor([0.3, -0.2])
    torch.testing.assert_close(
        peer('clap').model.contrastive_head.logits(cosines), cosines * scale
    )


@torch.no_grad()
@pytest.mark.parametrize('kind', ['clip', 'siglip'])
def test_pictures(peer, theirs, media, kind):
    model, processor = theirs(kind)
    pixels = processor.image_processor(list(media[0]), return_tensors='pt')
    ours = _ours(peer, kind, media)
    assert ours.keys() == {'V'} and len(ours['V']) == FRAMES
    _close(ours['V'], _pooled(model.get_image_features(**pixels)))
    filled = 'max_length' if kind == 'siglip' else True
    read = processor.tokenizer(
        TEXTS, padding=filled, max_length=12, truncation=True, return_tensors='pt'
    )
    words = {k: read[k] for k in ('input_ids', 'attention_mask')}
    _close(
        peer(kind).model.embed_sentences(TEXTS),
        _pooled(model.get_text_features(**words)),
    )


@torch.no_grad()
def test_pe_av(peer, theirs, media):
    model, processor = theirs('pe_audio_video')
    sound = processor.feature_extractor(
        media[1], sampling_rate=RATE, return_tensors='pt'
    )
    film = processor.video_processor(media[0], return_tensors='pt')
    words = processor.tokenizer(TEXTS[:1], return_tensors='pt')
    words = {k: words[k] for k in ('input_ids', 'attention_mask')}
    whole = model(**sound, **film, **words)
    ours = _ours(peer, 'pe_audio_video', media)
    _close(ours['AV'], whole.audio_video_embeds)
    _close(ours['A'], whole.audio_embeds)
    _close(ours['V'], whole.video_embeds)
    texts = peer('pe_audio_video').model.embed_sentences(TEXTS)
    assert texts.shape[:2] == (3, 3)
    _close(texts[:1, 0], whole.text_audio_video_embeds)
    _close(texts[:1, 1], whole.text_audio_embeds)
    _close(texts[:1, 2], whole.text_video_embeds)
    for part, stream in (((None, media[1]), 'A'), ((media[0], None), 'V')):
        alone = _ours(peer, 'pe_audio_video', part)
        assert alone.keys() == {stream}
        _close(alone[stream], ours[stream])


@pytest.mark.parametrize('kind', tiny_peers.KINDS)
def test_a_clip_does_not_depend_on_its_neighbours(peer, media, kind):
    frames, sound = media
    clips = [
        dict(video=frames, audio=(sound, RATE)),
        dict(video=frames[:2, :30], audio=(sound[:20000], RATE)),
        dict(video=frames[1:], audio=(sound[500:], RATE)),
        dict(video=frames[:, :, ::-1].copy(), audio=(sound[::-1].copy(), RATE)),
    ]
    alone = peer(kind).embed(clips, batch_size=1)['clips']
    together = peer(kind).embed(clips, batch_size=4)['clips']
    for one, other in zip(alone, together, strict=True):
        (first,), (second,) = one['windows'], other['windows']
        assert first['streams'] == second['streams'] == list(peer(kind).model.streams)
        for stream, feats in first['embeddings'].items():
            np.testing.assert_allclose(
                feats, second['embeddings'][stream], atol=1e-5, rtol=0
            )


def test_a_fused_clap_draws_nothing(folder, media):
    from coavt_mm.apis import CoAVTInferencer

    path = str(folder('clap', enable_fusion=True))
    model = CoAVTInferencer(None, path, 'cpu', show_progress=False).model
    long = np.tile(media[1], 3)  # of which the extractor would draw parts
    found = [_ours(lambda _: _Holder(model), '', (None, long))['A'] for _ in range(2)]
    assert torch.equal(*found)


class _Holder:
    def __init__(self, model):
        self.model = model
