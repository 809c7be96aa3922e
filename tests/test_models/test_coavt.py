import pytest
import torch
from tiny_coavt import samples, tiny_batch, tiny_cfg, tiny_coavt

from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT, LossHead
from coavt_mm.models.losses import loss_inputs
from coavt_mm.registry import MODELS

LOSSES = {
    'loss_contrastive_AV',
    'loss_contrastive_A',
    'loss_contrastive_V',
    'loss_matching_AV',
    'loss_lm_AV',
}


def _losses(model, batch):
    losses = model(batch, samples(len(batch['clip_key'])), mode='loss')
    return {k: v for k, v in losses.items() if 'loss' in k}


@pytest.mark.parametrize('batch', [1, 3])
def test_all_losses_train_all_parts(batch):
    model = tiny_coavt()
    losses = _losses(model, tiny_batch(batch))
    assert set(losses) == LOSSES
    assert all(v.ndim == 0 and v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


class Spread(LossHead):
    """A head of somebody's, which gives one value."""

    def __init__(self, name):
        super().__init__()
        self.streams, self.name = dict(AV=1.0), name

    def losses(self, batch):
        return {self.name: batch.features.texts.var()}


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('uniformity', 'extra_heads.spread gives uniformity, none of which is trained'),
        ('loss_contrastive_AV', 'gives loss_contrastive_AV, as another head does'),
    ],
)
def test_no_loss_of_an_own_head_is_lost(name, said):
    model, batch = tiny_coavt(), tiny_batch(3)
    model.extra_heads['spread'] = Spread(name)
    with pytest.raises(ConfigError, match=said.replace('extra_heads.', '')):
        _losses(model, batch)
    model.extra_heads['spread'] = Spread('loss_spread')
    assert {*_losses(model, batch)} == LOSSES | {'loss_spread'}


def negatives(batch, **heads):
    values = tiny_coavt(**heads)(batch, samples(len(batch['clip_key'])), mode='loss')
    return values['negatives'].item() if 'negatives' in values else None


def test_the_share_of_clips_with_negatives():
    batch = tiny_batch(4)
    assert negatives(batch) == 1
    assert negatives(batch, contrastive_head=None, matching_head=None) is None
    assert negatives(tiny_batch(1)) == 0
    batch['caption_key'][:3] = 7  # the fourth is a negative of all, and they of it
    assert negatives(batch) == 1
    batch['has_audio'][3] = batch['has_visual'][3] = False
    assert negatives(batch) == 0
    batch = tiny_batch(4)
    batch['caption_key'][:] = 7
    assert negatives(batch) == 0
    batch = tiny_batch(4)
    batch['clip_key'][:] = 7
    assert negatives(batch) == 0


def test_each_loss_and_alignment_can_be_switched_off():
    batch = tiny_batch(3)
    everything = _losses(tiny_coavt(), batch)
    for head, streams in [('contrastive_head', 'AV A V'), ('matching_head', 'AV')]:
        kind = head.split('_')[0]
        for stream in streams.split():
            cfg = tiny_cfg()
            cfg[head]['streams'] = {s: float(s != stream) for s in streams.split()}
            off = _losses(tiny_coavt(**{head: cfg[head]}), batch)
            assert set(everything) - set(off) == {f'loss_{kind}_{stream}'}
    for head, kind in [
        ('contrastive_head', 'contrastive'),
        ('matching_head', 'matching'),
        ('lm_head', 'lm'),
    ]:
        off = _losses(tiny_coavt(**{head: None}), batch)
        assert set(off) == {k for k in LOSSES if not k.startswith(f'loss_{kind}')}


def test_a_weight_multiplies_its_loss():
    cfg = tiny_cfg()['lm_head']
    batch = tiny_batch(3)
    one = _losses(tiny_coavt(), batch)['loss_lm_AV']
    three = _losses(tiny_coavt(lm_head={**cfg, 'streams': dict(AV=3.0)}), batch)
    torch.testing.assert_close(three['loss_lm_AV'], 3 * one)


def test_matching_and_language_on_single_streams():
    streams = dict(AV=1.0, A=1.0, V=1.0)
    cfg = tiny_cfg()
    model = tiny_coavt(
        matching_head={**cfg['matching_head'], 'streams': streams},
        lm_head={**cfg['lm_head'], 'streams': streams},
    )
    losses = _losses(model, tiny_batch(4))
    assert {'loss_matching_A', 'loss_matching_V', 'loss_lm_A', 'loss_lm_V'} < set(
        losses
    )


def _av_head(weight=1.0):
    return dict(type='AVContrastiveHead', weight=weight)


def test_sound_against_picture_is_off_unless_weighed():
    batch = tiny_batch(3)
    assert 'loss_audio_visual' not in _losses(tiny_coavt(av_head=_av_head(0)), batch)
    one = _losses(tiny_coavt(av_head=_av_head()), batch)
    half = _losses(tiny_coavt(av_head=_av_head(0.5)), batch)
    assert set(one) == LOSSES | {'loss_audio_visual'}
    assert one['loss_audio_visual'] > 0
    torch.testing.assert_close(half['loss_audio_visual'] * 2, one['loss_audio_visual'])


def test_sound_against_picture_needs_both_but_no_text():
    batch = tiny_batch(4)
    model = tiny_coavt(av_head=_av_head(), matching_head=None)
    first = _losses(model, batch)['loss_audio_visual']
    batch['caption_streams'][:] = torch.tensor([False, True, False])
    batch['caption_key'][:] = 1
    torch.testing.assert_close(_losses(model, batch)['loss_audio_visual'], first)
    batch['has_audio'][1] = False
    lacking = _losses(model, batch)['loss_audio_visual']
    batch['spectrogram'][1] = 1e3
    batch['frames'][1] = 7
    torch.testing.assert_close(_losses(model, batch)['loss_audio_visual'], lacking)
    assert not torch.isclose(lacking, first)


def test_sound_against_picture_alone_runs_no_query():
    cfg = tiny_cfg()
    off = dict.fromkeys(('AV', 'A', 'V'), 0.0)
    heads = {
        name: {**cfg[name], 'streams': off}
        for name in ('contrastive_head', 'matching_head', 'lm_head')
    }
    model = tiny_coavt(av_head=_av_head(), **heads)
    model.query_encoder.encode_queries = None
    assert set(_losses(model, tiny_batch(2))) == {'loss_audio_visual'}


def test_sound_against_picture_refuses_tokens_that_saw_both():
    encoder = {**tiny_cfg()['av_encoder'], 'type': 'OnePassAVEncoder'}
    with pytest.raises(ConfigError, match='one_pass'):
        tiny_coavt(av_head=_av_head(), av_encoder=encoder)


def test_without_a_text_encoder_text_goes_through_the_query_encoder():
    head = dict(type='ContrastiveHead', embed_dims=20, proj_dims=8)
    model = tiny_coavt(text_encoder=None, contrastive_head=head)
    batch = tiny_batch(2)
    ids, mask = batch['input_ids'], batch['attention_mask']
    torch.testing.assert_close(
        model.encode_text(ids, mask), model.query_encoder.encode_text(ids, mask)
    )
    assert set(_losses(model, batch)) == LOSSES


def test_a_clip_without_a_modality_changes_no_other_loss():
    """A silent clip's fill values must not reach any loss but V-T."""
    model = tiny_coavt(matching_head=None)
    batch = tiny_batch(4)
    batch['has_audio'][1] = False
    first = _losses(model, batch)
    batch['spectrogram'][1] = 1e3
    for name, value in _losses(model, batch).items():
        torch.testing.assert_close(value, first[name])
    batch['frames'][1] = 0  # its picture does count in V-T, and nowhere else
    changed = {
        k for k, v in _losses(model, batch).items() if not torch.isclose(v, first[k])
    }
    assert changed == {'loss_contrastive_V'}


def test_a_batch_without_any_sound_still_trains():
    model = tiny_coavt()
    batch = tiny_batch(3)
    del batch['spectrogram']
    batch['has_audio'][:] = False
    losses = _losses(model, batch)
    assert losses['loss_contrastive_V'] > 0
    assert all(losses[k] == 0 for k in LOSSES if k != 'loss_contrastive_V')


def test_a_caption_about_the_sound_trains_only_a_t():
    batch = tiny_batch(2)
    batch['caption_streams'][:] = torch.tensor([False, True, False])
    losses = _losses(tiny_coavt(), batch)
    assert losses['loss_contrastive_A'] > 0
    assert all(losses[k] == 0 for k in LOSSES if k != 'loss_contrastive_A')


def test_duplicates_are_never_negatives():
    """All the same clip: nothing to draw, only positives are matched."""
    model = tiny_coavt()
    batch = tiny_batch(3)
    batch['clip_key'][:] = 7
    drawn = []
    model.matching_head.register_forward_hook(lambda *a: drawn.append(a[2]))
    loss = model(batch, samples(3), mode='loss')['loss_matching_AV']
    positives = torch.tensor([1, 1, 1])
    expected = torch.nn.functional.cross_entropy(drawn[0][:3], positives)
    torch.testing.assert_close(loss, expected)


def test_matching_pairs_are_what_match_scores():
    """The loss's pairs, put together with shared keys and values, by the slow way."""
    model = tiny_coavt().eval()
    batch = tiny_batch(2)
    logits = []
    model.matching_head.register_forward_hook(lambda *a: logits.append(a[2]))
    model(batch, samples(2), mode='loss')
    tokens = model.encode_av(batch['spectrogram'], batch['frames'][:, 0])
    ids, mask = batch['input_ids'], batch['attention_mask']
    swap = torch.tensor([1, 0])  # with two clips, each has only the other
    for got, (clip, text) in zip(
        logits[0].split(2), [(None, None), (swap, None), (None, swap)], strict=True
    ):
        t = tokens if clip is None else tokens[clip]
        i, m = (ids, mask) if text is None else (ids[text], mask[text])
        torch.testing.assert_close(got, model.match(t, i, m))


@pytest.mark.parametrize('num_frames', [1, 3])
def test_predict(num_frames):
    model = tiny_coavt(test_cfg=dict(keep_tokens=True)).eval()
    batch = tiny_batch(3, num_frames)
    batch['caption_clip'] = torch.tensor([0, 0, 2])  # clip 1 has no caption
    batch['has_audio'][2] = False
    out = model(batch, samples(3), mode='predict')
    assert [len(s.caption_feats) for s in out] == [2, 0, 1]
    assert set(out[0].clip_feats) == {'AV', 'A', 'V'}
    assert set(out[2].clip_feats) == {'V'}
    assert 'tokens' not in out[2]
    assert out[0].clip_feats['AV'].shape == (num_frames, 3, 8)
    assert out[0].clip_feats['A'].shape == (1, 3, 8)
    assert out[0].tokens.shape == (num_frames, 6 + 4, 16)
    length = int(batch['attention_mask'][1].sum())
    assert out[0].caption_ids[1].tolist() == batch['input_ids'][1, :length].tolist()
    # each frame for itself, by the slow way
    for f in range(num_frames):
        tokens = model.encode_av(batch['spectrogram'][:1], batch['frames'][:1, f])
        feats = model.contrastive_head.project_queries(model.query(tokens).hidden)
        torch.testing.assert_close(out[0].clip_feats['AV'][f], feats[0])
    tokens = model.encode_audio(batch['spectrogram'][:1])
    feats = model.contrastive_head.project_queries(model.query(tokens).hidden)
    torch.testing.assert_close(out[0].clip_feats['A'][0], feats[0])


def test_predict_one_modality_only():
    model = tiny_coavt().eval()
    batch = tiny_batch(2)
    del batch['frames']
    batch['has_visual'][:] = False
    out = model(batch, samples(2), mode='predict')
    assert set(out[0].clip_feats) == {'A'}


def _draws_hang_on_the_clip_alone(vocab):
    """Not on its place in the batch, or on what else is there."""
    drawn = dict(top_p=1.0, temperature=3.0, max_new_tokens=8)
    model = tiny_coavt(test_cfg=dict(caption=dict(drawn=drawn)), tokenizer=vocab).eval()
    batch = tiny_batch(3)
    texts = [s.pred_caption['drawn'] for s in model(batch, samples(3), mode='predict')]
    assert len(set(texts)) == 3
    keys = ('spectrogram', 'frames', 'has_audio', 'has_visual', 'clip_key')
    last = {key: batch[key][2:] for key in keys}
    (alone,) = model(last, samples(1), mode='predict')
    assert alone.pred_caption['drawn'] == texts[2]


def test_captions_need_a_tokenizer_that_fits(tmp_path):
    test_cfg = dict(caption=dict(greedy=dict(max_new_tokens=4)))
    with pytest.raises(ConfigError, match='tokenizer'):
        tiny_coavt(test_cfg=test_cfg)(tiny_batch(2), samples(2), mode='predict')
    vocab = tmp_path / 'vocab.txt'
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '[DEC]', 'a', 'b']
    vocab.write_text('\n'.join(words + [f'w{i}' for i in range(22)]))
    model = tiny_coavt(test_cfg=test_cfg, tokenizer=str(vocab)).eval()
    out = model(tiny_batch(2), samples(2), mode='predict')
    assert all(isinstance(s.pred_caption['greedy'], str) for s in out)
    _draws_hang_on_the_clip_alone(str(vocab))
    vocab = tmp_path / 'other.txt'
    vocab.write_text('\n'.join([words[0], '[DEC]', *words[1:5], 'a']))
    with pytest.raises(ConfigError, match=r'dec_token_id is 5, but \[DEC\] has id 1'):
        tiny_coavt(tokenizer=str(vocab)).tokenizer  # noqa: B018


@pytest.mark.parametrize(
    ('part', 'setting', 'value', 'message'),
    [
        ('query_encoder', 'context_dims', 18, 'context_dims is 18, but must be 16'),
        ('contrastive_head', 'text_dims', 20, 'text_dims is 20, but must be 12'),
        ('matching_head', 'embed_dims', 16, 'embed_dims is 16, but must be 20'),
        ('lm_head', 'vocab_size', 31, 'vocab_size is 31, but must be 30'),
    ],
)
def test_parts_that_do_not_fit_are_named(part, setting, value, message):
    cfg = tiny_cfg()
    cfg[part] = {**cfg[part], setting: value}
    with pytest.raises(ConfigError, match=message):
        CoAVT(**cfg)


SIZES = ('embed_dims', 'text_dims', 'context_dims', 'vocab_size')


def test_sizes_are_said_once():
    """What the heads and the query encoder leave out comes from the encoders."""
    said = tiny_cfg()
    bare = {
        name: {k: v for k, v in part.items() if k not in SIZES}
        for name, part in said.items()
    }
    bare['av_encoder'] = said['av_encoder']
    bare['query_encoder'].update(embed_dims=20, vocab_size=30)
    torch.manual_seed(0)
    found = CoAVT(**bare).state_dict()
    expected = tiny_coavt().state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_parts_that_are_built_are_compared_too():
    built = MODELS.build(dict(type='MatchingHead', embed_dims=16))
    with pytest.raises(ConfigError, match='matching_head.embed_dims is 16.*be 20'):
        tiny_coavt(matching_head=built)


@MODELS.register_module()
class SumHead(LossHead):
    """The mean of what the queries read of the sound, through a layer of its own."""

    def __init__(self, weight: float, embed_dims: int = 768):
        super().__init__()
        self.streams = dict(A=weight)
        self.layer = torch.nn.Linear(embed_dims, 1)

    def losses(self, batch):
        counted = batch.states['A'].hidden[batch.valid['A']]
        return dict(loss_sum=self.streams['A'] * self.layer(counted).mean())


def test_a_loss_is_a_class_and_a_line_of_the_config():
    heads = dict(total=dict(type='SumHead', weight=2.0), off=None)
    model = tiny_coavt(
        extra_heads=heads, contrastive_head=None, matching_head=None, lm_head=None
    )
    assert list(model.heads) == ['total']
    asked = []
    model.av_encoder.encode_visual = asked.append  # nobody needs it
    batch = tiny_batch(3)
    values = model(batch, samples(3), mode='loss')
    assert list(values) == ['loss_sum'] and asked == []
    hidden = model.query(model.encode_audio(batch['spectrogram'])).hidden
    layer = model.extra_heads['total'].layer
    torch.testing.assert_close(values['loss_sum'], 2 * layer(hidden).mean())
    everything = tiny_coavt(extra_heads=heads)
    assert set(_losses(everything, batch)) == LOSSES | {'loss_sum'}


@pytest.mark.parametrize(
    ('heads', 'message'),
    [
        ([dict(type='SumHead', weight=1.0)], 'extra_heads is a list'),
        (dict(lm_head=dict(type='SumHead', weight=1.0)), 'lm_head: take another name'),
        (dict(values=dict(type='SumHead', weight=1.0)), 'values: take another name'),
        (dict(x=dict(type='ClassificationHead', num_classes=2)), 'no LossHead'),
        (dict(x=dict(type='SumHead', weight=1.0, embed_dims=9)), 'is 9, but must be'),
    ],
)
def test_heads_that_are_none_are_refused(heads, message):
    with pytest.raises(ConfigError, match=message):
        tiny_coavt(extra_heads=heads)


def test_a_loss_in_the_space_of_texts_needs_the_contrastive_head():
    model = tiny_coavt(contrastive_head=None)
    batch = loss_inputs(model, tiny_batch(2))
    with pytest.raises(ConfigError, match='contrastive_head, which this CoAVT lacks'):
        batch.features  # noqa: B018


def test_clear_errors():
    model = tiny_coavt()
    with pytest.raises(ConfigError, match='one caption per clip'):
        batch = tiny_batch(3)
        batch['input_ids'] = batch['input_ids'][:2]
        model(batch, samples(3), mode='loss')
    with pytest.raises(ConfigError, match='one frame per clip'):
        model(tiny_batch(2, num_frames=2), samples(2), mode='loss')
    with pytest.raises(ConfigError, match="got 'losses'"):
        model(tiny_batch(2), mode='losses')
    with pytest.raises(ConfigError, match='test_cfg'):
        tiny_coavt(test_cfg=dict(captions={}))
    with pytest.raises(ConfigError, match='matching_head'):
        tiny_coavt(matching_head=None).match(torch.zeros(1, 2, 16), *[None] * 2)
    with pytest.raises(ConfigError, match='lm_head'):
        tiny_coavt(lm_head=None).generate(torch.zeros(1, 2, 16))


def test_builds_from_the_registry_with_built_or_described_parts():
    built = MODELS.build(tiny_cfg()['av_encoder'])
    model = MODELS.build(dict(type='CoAVT', **tiny_cfg(av_encoder=built)))
    assert model.av_encoder is built


def test_five_captions_cost_one_pass_over_their_clip(monkeypatch):
    model = tiny_coavt().eval()
    batch = tiny_batch(10)
    clips = {k: batch[k][:2] for k in ('spectrogram', 'frames', 'clip_key')}
    batch.update(clips, has_audio=batch['has_audio'][:2])
    batch.update(has_visual=batch['has_visual'][:2])
    batch['caption_clip'] = torch.arange(10) // 5
    rows = {'clips': [], 'queries': [], 'texts': []}
    for name, part, method in (
        ('clips', model.av_encoder, '_audio_trunk'),
        ('queries', model.query_encoder, 'encode_queries'),
        ('texts', model.text_encoder, 'forward'),
    ):
        call = getattr(part, method)
        monkeypatch.setattr(
            part,
            method,
            lambda x, *a, c=call, n=name: (rows[n].append(len(x)), c(x, *a))[1],
        )
    found = model(batch, samples(2), mode='predict')
    assert rows == {'clips': [2], 'queries': [2, 2, 2], 'texts': [10]}
    assert [len(sample.caption_feats) for sample in found] == [5, 5]


def test_mean_tokens_are_predicted_for_the_modalities_there():
    model = tiny_coavt().eval()
    batch = tiny_batch(2, num_frames=3)
    batch['has_audio'][1] = False
    first, second = model(batch, samples(2), mode='predict')
    expected = model.encode_audio(batch['spectrogram'][:1])[0].mean(0)
    expected = expected / expected.norm()
    torch.testing.assert_close(first.token_feats['A'], expected[None])
    assert {s: f.shape for s, f in first.token_feats.items()} == {
        'AV': (3, 16),
        'A': (1, 16),
        'V': (3, 16),
    }
    assert set(second.token_feats) == {'V'}
