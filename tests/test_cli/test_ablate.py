"""Ablations: configs do what their names say, results are gathered, none repeated."""

import json
import runpy
import sys
from argparse import ArgumentParser
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from coavt_mm.analysis.ablations import read_variants
from coavt_mm.config import load_config
from coavt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'coavt'
BASES = dict(demo=FOLDER / 'ablations.py', vggsound=FOLDER / 'pretrain_vggsound.py')
SCRIPT = ROOT / 'tools' / 'analysis' / 'ablate.py'
VARIANTS = read_variants()

CHANGES = {
    'no_at': lambda m: 'A' not in m.contrastive_head.streams,
    'no_vt': lambda m: 'V' not in m.contrastive_head.streams,
    'av_only': lambda m: set(m.contrastive_head.streams) == {'AV'},
    'no_contrastive': lambda m: not m.contrastive_head.streams,
    'no_matching': lambda m: not m.matching_head.streams,
    'no_lm': lambda m: not m.lm_head.streams,
    'shared_text': lambda m: m.text_encoder is None,
    'one_pass': lambda m: m.av_encoder.one_pass,
    'av_contrast': lambda m: m.av_head is not None and m.av_head.weight > 0,
}


def loaded(base, options=()):
    """The config with a variant's options, as a command line gives them."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    line = ['--cfg-options', *options] if options else []
    return load_config(str(BASES[base]), parser.parse_args(line).cfg_options)


@cache
def built(base):
    """What a variant is compared with, to be looked at: the config, and its model."""
    cfg = loaded(base)
    with torch.device('meta'):
        return cfg, MODELS.build(cfg.model)


@pytest.mark.slow
@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('name', sorted({*VARIANTS, 'queries_64'} - {'full'}))
def test_each_variant_changes_what_its_name_says(base, name):
    init_default_scope('coavt_mm')
    options = ['model.query_encoder.num_queries=64']
    options = VARIANTS[name]['options'] if name in VARIANTS else options
    original, full = built(base)
    changed = loaded(base, options)
    with torch.device('meta'):
        model = MODELS.build(changed.model)
    if name == 'no_contrastive':  # an untrained cosine picks no weights
        hook, own = (c.default_hooks.checkpoint for c in (changed, original))
        assert hook.save_best is None and own.save_best
        hook.save_best = own.save_best
    if name.startswith('queries'):
        asked = int(name.removeprefix('queries_'))
        assert model.query_encoder.num_queries == asked
    else:
        assert CHANGES[name](model) and not CHANGES[name](full)
    same, others = (
        {key: value for key, value in cfg.items() if key != 'model'}
        for cfg in (changed, original)
    )
    assert same == others


def test_the_row_to_compare_with_is_the_demo_without_its_stages():
    full, demo = (
        Config.fromfile(FOLDER / f'{n}.py') for n in ('ablations', 'pretrain_demo')
    )
    heads = {'contrastive_head', 'matching_head', 'lm_head'}  # weights of their own
    assert heads < set(full.model) == set(demo.model)
    for part in {*demo.model} - heads:
        assert full.model[part] == demo.model[part]
    for part in ('optim_wrapper.optimizer', 'test_dataloader', 'test_evaluator'):
        assert attrgetter(part)(full) == attrgetter(part)(demo)
    assert full.train_dataloader.dataset == demo.train_dataloader.dataset
    (stage,) = full.train_dataloader.sampler.curriculum
    assert [*stage] == ['hardness'] and len(
        demo.train_dataloader.sampler.curriculum
    ) > 1
    begin, end = (epochs for epochs, _ in stage.hardness)
    assert (begin * 3000, end * 3000) == pytest.approx((80 * 32, 160 * 32))
    assert full.param_scheduler[-1].end == full.train_cfg.max_iters


def write_result(folder, value):
    folder.mkdir(parents=True)
    streams = {s: {'R@1': value + i} for i, s in enumerate(('AV', 'A', 'V'))}
    report = dict(text_to_clip=streams, clip_to_text=streams, matching_accuracy=0.9)
    (folder / 'retrieval.json').write_text(json.dumps(report))


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['ablate.py', *map(str, args)])
    runpy.run_path(str(SCRIPT), run_name='__main__')


def test_finished_runs_are_not_repeated_and_the_page_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr('subprocess.run', lambda *_: pytest.fail('a run was repeated'))
    out = tmp_path / 'ablations.md'
    out.write_text(
        '# Mine\n\n<!-- table: begin -->\nold\n<!-- table: end -->\n\nWhat was seen.\n'
    )
    for seed, value in ((0, 10.0), (1, 20.0)):
        write_result(tmp_path / 'runs' / 'no_at' / f'seed_{seed}', value)
    options = ('--only', 'no_at', '--seeds', 0, 1, '--work-dir', tmp_path / 'runs')
    run(monkeypatch, *options, '--out', out)
    page = out.read_text('utf-8')
    row = next(line for line in page.splitlines() if line.startswith('| no_at'))
    assert '| 15.0 ± 7.1 (2) | 16.0 ± 7.1 (2) | 17.0 ± 7.1 (2) |' in row
    assert '90.0 ± 0.0 (2)' in row and 'audio-text' in row
    assert 'old' not in page and page.startswith('# Mine')
    assert page.endswith('What was seen.\n')
    assert '| full | not measured' in page
    assert out.with_suffix('.png').stat().st_size > 1000


def test_a_failed_run_and_an_unknown_name_stop_in_one_line(
    monkeypatch, tmp_path, capsys
):
    class Failed:
        returncode = 1

    monkeypatch.setattr('subprocess.run', lambda *_: Failed)
    for only, message in (('full', 'train.py'), ('no_audio', 'no ablation no_audio')):
        with pytest.raises(SystemExit):
            run(monkeypatch, '--only', only, '--work-dir', tmp_path)
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1


def test_a_run_made_with_other_options_is_not_taken_for_this_one(
    monkeypatch, tmp_path, capsys
):
    folder = tmp_path / 'full' / 'seed_0'
    write_result(folder, 10.0)
    (folder / 'options.json').write_text('["train_cfg.max_iters=3"]')
    with pytest.raises(SystemExit):
        run(monkeypatch, '--only', 'full', '--seeds', 0, '--work-dir', tmp_path)
    assert 'train_cfg.max_iters=3' in capsys.readouterr().err
