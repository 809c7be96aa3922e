"""A training step never waits for the device, and is one graph."""

from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from mmengine.dataset import pseudo_collate
from tiny_coavt import (
    CASES,
    FUSED,
    HEADS,
    SEP,
    VOCAB,
    described,
    odd_batch,
    of_one_sense,
    samples,
    tiny_coavt,
)
from waits import Graphs, Rows, Waits

from coavt_mm.datasets import stack_clips
from coavt_mm.models import AVTDataPreprocessor


@pytest.mark.parametrize('heads', [HEADS, FUSED], ids=['heads', 'fused'])
@pytest.mark.parametrize('case', CASES)
def test_no_wait_and_no_attention_without_rows(case, heads):
    model, batch = tiny_coavt(**heads), odd_batch(case)
    with Rows() as rows, Waits() as waits:
        losses = model(batch, samples(len(batch['clip_key'])), mode='loss')
        sum(x for name, x in losses.items() if 'loss' in name).backward()
    assert waits.found == []
    assert rows.seen and min(rows.seen) > 0  # CUDA's kernels refuse none
    assert all(x.isfinite() for x in losses.values())


@pytest.mark.parametrize('name', sorted(Waits.EXAMPLES))
def test_a_wait_would_be_found(name):
    with Waits() as waits:
        Waits.EXAMPLES[name](torch.ones(3))
    assert waits.found == [name]


@pytest.mark.slow
@pytest.mark.parametrize('heads', [HEADS, FUSED], ids=['heads', 'fused'])
def test_one_graph_whoever_takes_part_and_however_long_the_texts(heads):
    graphs = Graphs()
    model, plain = tiny_coavt(**heads), tiny_coavt(**heads)
    model.compile_losses(backend=graphs, fullgraph=True)
    for case in CASES[:-1]:
        batch = odd_batch(case)
        for length in (8, 3, 16, 12):
            batch['input_ids'] = torch.randint(6, VOCAB, (5, length))
            batch['input_ids'][:, -1] = SEP
            batch['attention_mask'] = torch.ones_like(batch['input_ids'])
            values = []
            for some in (model, plain):
                torch.manual_seed(0)
                values.append(some(dict(batch), samples(5), mode='loss'))
            torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
    assert 1 <= graphs.number <= 3


def clip(name, frames=1, sound=4000, texts=('a dog',)):
    lengths = [len(text) for text in texts]
    meta = dict(
        sample_id=name,
        texts=list(texts),
        text_streams=['AV'] * len(texts),
        audio_samples=sound,
    )
    picture = torch.randint(0, 256, (frames, 3, 6, 5), dtype=torch.uint8)
    return dict(
        inputs=dict(
            frames=picture if frames else None,
            waveform=torch.randn(sound) if sound else None,
            input_ids=torch.arange(sum(lengths)) + 1,
            caption_lengths=torch.tensor(lengths),
        ),
        data_samples=type(samples(1)[0])(metainfo=meta),
    )


CLIPS = [
    [clip('a'), clip('b', frames=0), clip('c', sound=0), clip('d', sound=5001)],
    [clip('a', frames=0), clip('b', frames=0, texts=('x', 'two texts'))],
    [clip('only', sound=0)],
]


@pytest.mark.parametrize('clips', CLIPS)
@pytest.mark.parametrize('augment', [{}, dict(mixup=1.0, noise=0.1, time_mask=9)])
def test_stacked_in_the_worker_or_here_is_the_same(clips, augment):
    preprocessor = AVTDataPreprocessor(spec_frames=32, augment=augment)
    results = []
    for collate in (stack_clips, pseudo_collate):
        torch.manual_seed(0)
        with Waits() as waits:
            results.append(preprocessor(collate(clips), training=True)['inputs'])
        assert waits.found == (['multinomial'] if augment else [])  # on the host
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_few_tensors_cross_from_the_worker():
    batch = stack_clips(CLIPS[0] * 8)
    assert len(batch['inputs']) <= 10  # not four a clip
    assert batch['inputs']['frames'].shape == (32, 1, 3, 6, 5)


@pytest.mark.parametrize('kind', [torch.int64, torch.float32])
def test_labels_cross_as_arrays_and_are_tensors_again(kind):
    clips, labels = CLIPS[1], torch.tensor([1, 0], dtype=kind)
    for sample in clips:
        sample['data_samples'].gt_label = labels
    batch = stack_clips(clips)
    crossing = list(map(ForkingPickler.dumps, batch['data_samples']))
    assert not any(b'rebuild_tensor' in bytes(x) for x in crossing)
    for data in (batch, pseudo_collate(clips)):
        for sample in AVTDataPreprocessor()(data)['data_samples']:
            torch.testing.assert_close(sample.gt_label, labels, rtol=0, atol=0)
    assert all(isinstance(x['data_samples'].gt_label, torch.Tensor) for x in clips)


@pytest.mark.parametrize('about', [['V'] * 5, ['A', 'V', 'A', 'V', 'A'], ['A'] * 2,
                                   ['V', 'A', 'AV', 'V', 'V', 'V']])  # fmt: skip
@pytest.mark.parametrize('streams', [dict(A=1.0, V=2.0), dict(AV=1.0, A=1.0, V=2.0)])
def test_leaving_out_clips_that_do_not_count_changes_no_loss(about, streams):
    heads = dict(
        # by other streams, where these clips are zeros, others would be drawn
        matching_head=dict(
            FUSED['matching_head'], streams=streams, negative_streams=None
        ),
        contrastive_head=dict(
            type='ContrastiveHead', embed_dims=20, text_dims=12, proj_dims=8,
            streams=streams,
        ),
    )  # fmt: skip
    results, batch = [], of_one_sense(about)
    for descriptions in (samples(len(about)), described(batch, about)):
        model = tiny_coavt(data_preprocessor=AVTDataPreprocessor(), **heads)
        model.lm_head.streams = dict(streams)
        torch.manual_seed(0)
        with Rows() as rows, Waits() as waits:
            losses = model(dict(batch), descriptions, mode='loss')
            sum(x for name, x in losses.items() if 'loss' in name).backward()
        assert waits.found == [] and min(rows.seen) > 0
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append(({k: v.detach() for k, v in losses.items()}, grads, rows.seen))
    assert sum(results[1][2]) < sum(results[0][2])
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-6)
    assert results[1][1].keys() == results[0][1].keys()
    for name, grad in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], grad, rtol=1e-4, atol=1e-6)
