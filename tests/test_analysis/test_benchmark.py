import json
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_coavt import FUSED, samples, tiny_batch, tiny_cfg, tiny_coavt

from coavt_mm.analysis import benchmark as door
from coavt_mm.analysis import benchmark_probes, benchmark_steps
from coavt_mm.analysis.baseline import plain_losses
from coavt_mm.analysis.benchmark import SECTIONS, Report, run, sections_of
from coavt_mm.analysis.benchmark_meters import Meter, quartiles
from coavt_mm.analysis.benchmark_rows import Row, markdown
from coavt_mm.analysis.benchmark_sections import (
    compare,
    largest_batch,
    parts,
    steps,
)
from coavt_mm.analysis.benchmark_steps import (
    Bench,
    Options,
    longest_text,
    make_batch,
)
from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis' / 'benchmark.py'
HARD = dict(type='MatchingHead', embed_dims=20, hardness=1e6)  # one negative is sure


pytestmark = pytest.mark.slow  # steps are timed


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A tiny model with a recipe around it, as a file."""
    preprocessor = dict(
        type='AVTDataPreprocessor', spec_frames=48, logmel=dict(num_mel_bins=32)
    )
    model = dict(type='CoAVT', data_preprocessor=preprocessor, **tiny_cfg())
    tokenize = dict(type='TokenizeText', tokenizer='x', max_tokens=16)
    cfg = dict(
        model=model,
        train_dataloader=dict(dataset=dict(type='AVTDataset', pipeline=[tokenize])),
        optim_wrapper=dict(
            type='BF16OptimWrapper',
            constructor='ScalarDecayConstructor',
            optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.98), weight_decay=0.05),
            clip_grad=dict(max_norm=1.0),
            paramwise_cfg=dict(norm_decay_mult=0.0, flat_decay_mult=0.0),
        ),
    )
    path = tmp_path_factory.mktemp('benchmark') / 'tiny.py'
    Config(cfg).dump(str(path))
    return str(path)


@pytest.fixture
def bench(config):
    made = Bench(Options(config, batch=3, steps=2, precisions=('float32', 'bf16')))
    made.rates.update(float32=1e10, bf16=1e9)  # measuring them takes seconds
    return made


def _losses_and_gradients(model, losses):
    model.zero_grad()
    torch.manual_seed(0)
    values = {k: v for k, v in losses().items() if 'loss' in k}
    sum(values.values()).backward()
    return values, {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def _one_encoder(**heads):
    return dict(
        text_encoder=None,
        contrastive_head=dict(type='ContrastiveHead', embed_dims=20, proj_dims=8),
        **heads,
    )


def _mixed(batch):
    """Silence, a caption of the sound alone, and a clip that is there twice."""
    batch['has_audio'][2] = False
    batch['caption_streams'][1] = torch.tensor([False, True, False])
    batch['clip_key'][4] = batch['clip_key'][0]
    return batch


@pytest.mark.parametrize('clips', [1, 2, 5])
@pytest.mark.parametrize(
    'overrides', [{}, _one_encoder(), dict(lm_head=None), dict(FUSED, av_head=None)]
)
def test_the_baseline_gives_our_losses_and_gradients(clips, overrides):
    model = tiny_coavt(**dict(matching_head=HARD) | overrides)
    batch = tiny_batch(clips)
    batch = _mixed(batch) if clips == 5 else batch
    ours = _losses_and_gradients(model, lambda: model.loss(batch, samples(clips)))
    plain = _losses_and_gradients(model, lambda: plain_losses(model, batch, 12))
    assert list(ours[0]) == list(plain[0])
    for one, other in zip(ours, plain, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-5)


def test_the_baseline_draws_the_same_negatives_from_several_streams():
    head = dict(HARD, hardness=1.0, negative_streams=('AV', 'A', 'V'))
    model, batch = tiny_coavt(matching_head=head), tiny_batch(6)
    ours, _ = _losses_and_gradients(model, lambda: model.loss(batch, samples(6)))
    plain, _ = _losses_and_gradients(model, lambda: plain_losses(model, batch, 8))
    torch.testing.assert_close(ours, plain)


def test_the_baseline_drops_out_in_training_only():
    queries = dict(tiny_cfg()['query_encoder'], dropout=0.5)
    model, batch = tiny_coavt(query_encoder=queries), tiny_batch(3)
    drawn = [float(plain_losses(model, batch, 8)['loss_lm_AV'].detach()) for _ in '12']
    assert drawn[0] != drawn[1]
    model.eval()
    fixed = [float(plain_losses(model, batch, 8)['loss_lm_AV'].detach()) for _ in '12']
    assert fixed[0] == fixed[1]


def test_the_baseline_computes_all_tokens():
    batch, encoder = tiny_batch(2), tiny_cfg()['av_encoder']
    every = plain_losses(tiny_coavt(), batch, 8)
    masked = tiny_coavt(av_encoder=dict(encoder, mask_ratio=(0.5, 0.5)))
    names = [name for name in every if 'matching' not in name]  # which draws
    for name in names:
        torch.testing.assert_close(plain_losses(masked, batch, 8)[name], every[name])


def test_the_baseline_refuses_losses_that_it_does_not_know():
    model = tiny_coavt(av_head=dict(type='AVContrastiveHead', weight=0.1))
    with pytest.raises(ConfigError, match='av_head'):
        plain_losses(model, tiny_batch(2), 8)


def test_batches_differ_but_for_their_shape(bench):
    batches = [
        bench.model.data_preprocessor(make_batch(bench.model, 33, seed), True)
        for seed in range(3)
    ]
    lengths = [b['inputs']['attention_mask'].sum(1) for b in batches]
    heard = [b['inputs']['has_audio'] for b in batches]
    assert all(length.max() == 16 for length in lengths)  # of the tiny encoder
    assert all((~h).sum() == 2 for h in heard)
    assert not lengths[0].equal(lengths[1])
    assert not (heard[0].equal(heard[1]) and heard[0].equal(heard[2]))


def test_the_longest_text_is_the_recipe_s(bench):
    assert bench.text_length == 16
    assert longest_text(Config(dict(model={}))) == 32


@pytest.mark.parametrize('clips', [1, 3])
def test_steps_are_compared(bench, clips):
    before = [p.detach().clone() for p in bench.model.parameters()]
    rows = list(compare(bench, 'steps', ('baseline', 'ours'), 'float32', clips))
    assert [row.what for row in rows] == ['baseline', 'ours']
    for row in rows:
        low, high = row.quartiles
        assert 0 < low <= row.ms <= high
        assert row.clips_per_s == pytest.approx(1000 * clips / row.ms)
        assert 0.05 < row.peak_gib < 64 and row.batch == clips
        assert row.share == pytest.approx(row.tflops * 1e12 / bench.rates['float32'])
    assert 'times the speed of the baseline' in rows[1].note and not rows[0].note
    assert bench.flops['ours'] < bench.flops['baseline']
    moved = [
        not a.equal(b) for a, b in zip(before, bench.model.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2  # steps were taken


def test_the_ways_share_their_moments(bench):
    list(steps(bench))
    ours, plain = bench.optimizers.ours.state, bench.optimizers.plain.state
    assert len(ours) == len(plain) > 0
    assert all(ours[p]['exp_avg'] is plain[p]['exp_avg'] for p in ours)
    bench.release()
    assert not ours and not plain


def test_parts_make_up_the_step(bench):
    rows = list(parts(bench))
    named = {way: [r for r in rows if r.what.startswith(way)] for way in
             ('ours', 'baseline')}  # fmt: skip
    expected = {
        'preprocessor', 'log-mel', 'encoder', 'text encoder', 'queries', 'contrast',
        'matching', 'language model', 'backward', 'optimiser', 'the rest',
    }  # fmt: skip
    for way, of in named.items():
        assert {row.what.removeprefix(f'{way}: ') for row in of} == expected
        assert all(row.ms > -1e-3 for row in of)
    assert 'forward' not in vars(bench.model.av_encoder)  # as it was


def test_a_meter_takes_parts_out_of_what_is_around_them():
    marks = iter([0, 1, 4, 10, 12, 13])
    meter = Meter(lambda: next(marks), lambda began, ended: ended - began)
    with meter.part('whole'):
        with meter.part('inner'):
            pass
        with meter.part('inner'):
            pass
    assert meter.totals() == {'inner': 3 + 2, 'whole': 13 - 5}


@pytest.mark.parametrize('limit', [1, 7, 40, 100, 1000])
def test_the_largest_batch_is_found(limit):
    tried = []

    def peak(clips):
        tried.append(clips)
        return 10 + 2 * clips if clips <= limit else None

    found = largest_batch(peak, 10 + 2 * limit, start=32)
    assert limit * 15 / 16 - 1 <= found <= limit
    assert len(tried) <= 8


def test_the_largest_batch_is_found_where_memory_grows_otherwise():
    found = largest_batch(lambda n: n if n <= 40 else None, 10_000, start=8)
    assert 36 <= found <= 40


def test_quartiles_of_one_value():
    assert quartiles([3.0]) == (3.0, 3.0)
    assert quartiles([1.0, 2.0, 3.0]) == (1.5, 2.5)


def test_probes(bench, monkeypatch):
    def once(bench, call, enough=0.0):
        call()
        return [1e-3]

    monkeypatch.setattr(benchmark_probes, '_times', once)
    for section in ('rates', 'logmel', 'optimiser', 'losses', 'validation', 'waits'):
        rows = list(SECTIONS[section][0](bench))
        assert rows and not any(row.failed for row in rows)
        bench.release()
    lines = [row.line() for row in benchmark_probes.matrix_rates(bench)]
    assert '| 100.0 % |' in lines[0] and 'GB/s' in lines[-1]


def test_loss_curves_leave_the_weights_as_they_were(bench):
    before = [p.detach().clone() for p in bench.model.parameters()]
    rows = list(benchmark_probes.loss_curves(bench))
    assert [row.precision for row in rows] == ['float32', 'bf16']
    assert 'apart from float32' in rows[1].note
    for one, other in zip(before, bench.model.parameters(), strict=True):
        assert one.equal(other)


def test_a_failing_section_is_a_row_and_the_next_goes_on(
    bench, monkeypatch, capsys, tmp_path
):
    def broken(bench):
        yield Row('steps', 'first', ms=1.0)
        raise ConfigError('no | such thing')

    def slow(bench):
        time.sleep(5)
        yield Row('loader', 'never')

    def good(bench):
        yield Row('rates', 'fine', 'bf16', 2, 12.345, (12.0, 13.0), share=0.5)

    sections = dict(rates=(broken, 9), parts=(slow, 0.05), steps=(good, 9))
    monkeypatch.setattr(door, 'SECTIONS', sections)
    report = Report(dict(device='CPU'), str(tmp_path / 'a/b.json'), f'{tmp_path}/b.md')
    assert not run(bench, report, [*sections], budget=1e6)
    assert [row.what for row in report.rows] == ['first', 'failed', 'failed', 'fine']
    out = capsys.readouterr().out
    assert '| rates | failed |  |  |  |  |  |  |  |  | no / such thing |' in out
    assert 'stopped after 0 s' in out
    saved = json.loads((tmp_path / 'a/b.json').read_text(encoding='utf-8'))
    assert saved['about'] == {'device': 'CPU'} and len(saved['rows']) == 4
    assert saved['rows'][3]['share'] == 0.5
    table = (tmp_path / 'b.md').read_text(encoding='utf-8')
    assert table == markdown(report.about, report.rows) + '\n'
    assert '| rates | fine | bf16 | 2 | 12.35 | 12-13 |  |  |  | 50.0 % |  |' in table


def test_without_time_no_section_begins(bench, capsys):
    report = Report({})
    assert not run(bench, report, ['rates', 'parts'], budget=0.0)
    assert [row.what for row in report.rows] == ['not begun: no time is left'] * 2


def test_sections():
    assert sections_of(None, True, False) == [*SECTIONS]
    assert sections_of(None, False, False) == ['rates', 'parts', 'steps']
    assert sections_of(None, False, True)[-1] == 'compiled'
    assert sections_of(['steps', 'rates'], True, False) == ['rates', 'steps']
    with pytest.raises(ConfigError, match='no section speed'):
        sections_of(['speed'], False, False)


@pytest.mark.parametrize(
    'options, said',
    [(dict(precisions=('tf32',)), 'for GPUs'), (dict(device='cuda'), 'no GPU')],
)
def test_what_is_not_there_is_said(config, options, said):
    if options.get('device') == 'cuda' and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(ConfigError, match=said):
        Bench(Options(config, **options))


def test_the_command(config, monkeypatch, capsys, tmp_path):
    compiled = []

    def forward(model: CoAVT):
        compiled.append(model)
        return model

    monkeypatch.setattr(benchmark_steps, 'compiled', forward)
    found = str(tmp_path / 'found.json')
    argv = f'x {config} --batch 2 --steps 1 --compile --only steps compiled'
    monkeypatch.setattr(sys, 'argv', [*argv.split(), '--json', found])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert stop.value.code == 0 and compiled
    rows = json.loads(Path(found).read_text(encoding='utf-8'))['rows']
    assert [row['what'] for row in rows] == [
        'baseline', 'ours', 'baseline', 'ours, compiled'
    ]  # fmt: skip
    assert 'compiled in' in rows[3]['note'] and rows[3]['tflops'] > 0
    assert len(capsys.readouterr().out.splitlines()) > len(rows)
