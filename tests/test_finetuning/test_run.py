"""From a folder and a spreadsheet to a model and a page, with a tiny checkpoint."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from media_files import write_clip

from coavt_mm.apis import load_model
from coavt_mm.cli.main import main
from coavt_mm.config import load_config
from coavt_mm.datasets.manifest import iter_manifest
from coavt_mm.errors import CoAVTError
from coavt_mm.finetuning import run
from coavt_mm.finetuning.data import _stream, prepare_own
from coavt_mm.finetuning.recipe import begin, caption_model, label_model

ANIMALS = ('chien', 'chat', 'oiseau')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """24 clips of 1 s, and lists of what is in them."""
    root = tmp_path_factory.mktemp('my clips')
    (root / 'été').mkdir()
    texts, labels = [], []
    for i in range(24):
        name = f'été/{i:02d}.mp4'
        write_clip(root / name, seconds=1, frequency=200 + 40 * i)
        texts.append(dict(clip=name, caption=f'Le {ANIMALS[i % 3]} numéro {i} crie'))
        labels.append(dict(clip=name, label=ANIMALS[i % 3]))
    for name, rows in (('captions', texts), ('labels', labels)):
        with open(root / f'{name}.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return root


@pytest.fixture
def here(monkeypatch):
    """Stages run in this process."""
    monkeypatch.setattr(run, 'run_command', lambda *words: main(words))


def _finetune(folder, out, *words):
    main(['finetune', str(folder), '--work-dir', str(out), '--workers', '0', *words])


class _Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.words, self.tags = [], []
        self.feed(path.read_text('utf-8'))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.slow
def test_captions(folder, tmp_path, checkpoint, here, capfd):
    out = tmp_path / 'a run'
    table = str(folder / 'captions.csv')
    _finetune(
        folder, out, '--captions', table, '--from', str(checkpoint), '--steps', '4'
    )
    ends = capfd.readouterr().out[-800:]
    assert f'{out}/report.html' in ends and 'coavt retrieve' in ends
    sides = {name: [*iter_manifest(out / f'data/{name}.jsonl', out / 'data')]
             for name in ('train', 'val', 'test')}  # fmt: skip
    assert {name: len(rows) for name, rows in sides.items()} == dict(
        train=16, val=3, test=5
    )
    model = load_model(out / 'checkpoint.pth')
    clip = sides['test'][0]['clip_path']
    (found,) = model.retrieve('Le chien numéro 3 crie', [clip])
    assert found['hits'][0]['candidate'] == clip
    after = json.loads((out / 'after/retrieval.json').read_text())
    assert after['clips'] == 5 and (out / 'before/retrieval.json').is_file()
    page = _Page(out / 'report.html')
    words = ' '.join(page.words)
    assert 'word pieces of the captions are new' in words and 'Le chien' in words
    assert sum(tag == 'audio' for tag, _ in page.tags) >= 5
    assert not any('://' in (attrs.get('src') or '') for _, attrs in page.tags)


@pytest.mark.slow
def test_labels(folder, tmp_path, checkpoint, here):
    out = tmp_path / 'run'
    table = str(folder / 'labels.csv')
    _finetune(folder, out, '--labels', table, '--from', str(checkpoint), '--steps', '4')
    model = load_model(out / 'checkpoint.pth')
    clip = next(iter_manifest(out / 'data/test.jsonl', out / 'data'))['clip_path']
    (answer,) = model.classify(clip)
    assert {label['label'] for label in answer['labels']} == {*ANIMALS}
    page = _Page(out / 'report.html')
    words = ' '.join(page.words)
    assert 'top1' in words and 'Classes of the test' in words and 'oiseau' in words
    assert any(tag == 'img' and attrs.get('alt') for tag, attrs in page.tags)


def test_data_of_a_list_with_splits(folder, tmp_path):
    lines = (folder / 'captions.csv').read_text('utf-8').splitlines()
    sides = ['Training'] * 18 + ['dev'] * 6
    table = tmp_path / 'own.csv'
    rows = [f'{line},{side}' for line, side in zip(lines[1:], sides, strict=True)]
    table.write_text('\n'.join([f'{lines[0]},split', *rows]))
    data = prepare_own([folder], str(table), tmp_path / 'data', False, 0)
    sizes = {name: len(own) for name, own in data.rows.items()}
    assert sizes == dict(train=13, val=6, test=5)
    assert data.stream == 'AV' and data.seconds == pytest.approx(1.0, abs=0.1)
    assert data.caption_fields == ['captions'] and data.notes == []


def test_a_row_that_is_there_twice_is_one_caption(folder, tmp_path):
    head, *rows = (folder / 'captions.csv').read_text('utf-8').splitlines()
    (tmp_path / 'own.csv').write_text('\n'.join([head, *rows, *rows[:3]]))
    data = prepare_own([folder], str(tmp_path / 'own.csv'), tmp_path / 'data', False, 0)
    assert {len(r['captions']) for own in data.rows.values() for r in own} == {1}


def test_data_say_what_is_lost(folder, tmp_path):
    lines = (folder / 'captions.csv').read_text('utf-8').splitlines()
    (tmp_path / 'own.csv').write_text('\n'.join([*lines[:-1], 'gone.mp4,nobody']))
    data = prepare_own([folder], str(tmp_path / 'own.csv'), tmp_path / 'data', False, 0)
    assert '1 of 24 listed clips can not be used (1 missing)' in data.notes[0]
    assert 'report.md' in data.notes[0]
    assert data.notes[1] == '1 more clips in the folder are not in the list'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda rows: [f'{row},test' for row in rows], 'it must have train'),
        (lambda rows: [f'{row},{"" if i else "train"}' for i, row in enumerate(rows)],
         'empty cells'),
        (lambda rows: [f'{row.split(",")[0]},,train' for row in rows],
         '24 clips have no caption, the first is été/00'),
        (lambda rows: [f'{row},train' for row in rows] + ['gone.mp4,a dog,test'],
         'the split test of the list has 0 clips that can be used'),
        (lambda _: [f'x{i}.JPG,a dog,' for i in range(24)], 'below .*x0.JPG.*ffmpeg'),
        (lambda _: [f'x{i}.mp4,a dog,' for i in range(24)], 'not one of its 24'),
    ],
)  # fmt: skip
def test_lists_that_can_not_be_split(folder, tmp_path, change, message):
    head, *rows = (folder / 'captions.csv').read_text('utf-8').splitlines()
    (tmp_path / 'own.csv').write_text('\n'.join([f'{head},split', *change(rows)]))
    with pytest.raises(CoAVTError, match=message):
        prepare_own([folder], str(tmp_path / 'own.csv'), tmp_path / 'data', False, 0)


def test_too_few_clips(folder, tmp_path, capsys):
    lines = (folder / 'captions.csv').read_text('utf-8').splitlines()
    (tmp_path / 'own.csv').write_text('\n'.join(lines[:12]))
    with pytest.raises(SystemExit):
        _finetune(folder, tmp_path / 'x', '--captions', str(tmp_path / 'own.csv'))
    assert 'Error: 11 clips are too few' in capsys.readouterr().err


def test_prepare_only_says_how_to_train(folder, tmp_path, capsys):
    out = tmp_path / 'own'
    table = str(folder / 'captions.csv')
    _finetune(folder, out, '--captions', table, '--prepare-only')
    said = capsys.readouterr().out
    assert 'coavt train coavt_mm::coavt/finetune_own.py' in said
    assert (out / 'data/train.jsonl').is_file()
    assert (out / 'tokenizer/tokenizer.json').is_file()
    assert not (out / 'train').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nowhere', '--captions', 'x.csv'], 'nowhere: there is no such folder'),
        (['.', '--captions', 'x.csv'], 'x.csv: there is no such spreadsheet'),
        (['.', '--labels', __file__, '--from', 'y.pth'], 'no such checkpoint'),
    ],
)
def test_what_is_not_there_is_said_first(words, message, capsys):
    with pytest.raises(SystemExit):
        main(['finetune', *words])
    assert message in capsys.readouterr().err


def test_labels_that_look_alike_or_have_no_training_clip_are_named(folder, tmp_path):
    rows = [f'été/{i:02d}.mp4,{"Dog" if i % 2 else "dog"},train' for i in range(20)]
    rows += [f'été/{i:02d}.mp4,cat,test' for i in range(20, 24)]
    (tmp_path / 'own.csv').write_text('\n'.join(['clip,label,split', *rows]))
    data = prepare_own([folder], str(tmp_path / 'own.csv'), tmp_path / 'data', True, 0)
    assert data.notes == [
        'labels that no clip of training has: cat',
        "'Dog' and 'dog' are taken for different labels",
    ]


@pytest.mark.parametrize(
    ('train', 'test', 'stream'),
    [
        ('AV AV A', 'AV A', 'AV'),
        ('A A A AV V', 'A A V', 'A'),  # no clip of the test has both
        ('V V V AV AV', 'V V AV', 'V'),
        ('AV AV', 'A A', 'A'),  # a clip with both has sound, too
    ],
)
def test_the_stream_is_what_training_and_test_have(train, test, stream):
    splits = {name: [dict(id=f'{name} {i} {own}') for i, own in enumerate(text.split())]
              for name, text in (('train', train), ('test', test))}  # fmt: skip
    ids = [row['id'] for own in splits.values() for row in own]
    problems = {
        problem: {i: '' for i in ids if i.endswith(f' {only}')}
        for problem, only in (('no_sound', 'V'), ('no_picture', 'A'))
    }
    report = dict(splits=dict(all=dict(problems=problems)))
    assert _stream(report, splits) == stream


def test_training_and_test_without_a_common_stream():
    splits = dict(train=[dict(id='a')], test=[dict(id='b')])
    report = dict(
        splits=dict(all=dict(problems=dict(no_sound={'a': ''}, no_picture={'b': ''})))
    )
    with pytest.raises(CoAVTError, match='nothing in common'):
        _stream(report, splits)


@pytest.mark.parametrize('config', [run.CAPTIONS, run.LABELS])
def test_sizes_of_a_new_model_are_settings_of_the_configs(config, vocabulary):
    given = dict(load_from=None, seconds=1.5, spec_mean=-9.0, spec_std=3.0)
    if config == run.CAPTIONS:
        given |= dict(tokenizer=str(vocabulary))
    cfg = load_config(config, given)
    assert cfg.model.data_preprocessor.spec_mean == -9.0
    assert cfg.model.data_preprocessor.spec_std == 3.0
    assert cfg.train_pipeline[2].seconds == pytest.approx(1.6)


def test_results_of_an_earlier_job_are_forgotten(tmp_path):
    stale = ['train/iter_900.pth', 'before/retrieval.json', 'after/captions.png']
    kept = ['train/clip.mp4', 'train/iter_2.pth', 'after/notes.txt']
    for name in (*stale, *kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    run._forget(tmp_path, str(tmp_path / 'train/iter_2.pth'))
    assert not any((tmp_path / name).exists() for name in stale)
    assert all((tmp_path / name).exists() for name in kept)


def test_an_interrupted_job_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, 'run_finetuning', interrupt)
    with pytest.raises(SystemExit):
        _finetune(folder, tmp_path, '--captions', str(folder / 'captions.csv'))
    assert capsys.readouterr().err.startswith('Error: interrupted; the same command')


def test_a_job_that_was_cut_off_goes_on(folder, tmp_path, checkpoint, monkeypatch):
    done = []
    monkeypatch.setattr(run, 'run_command', lambda *words: done.append(words))
    (tmp_path / 'before').mkdir()
    (tmp_path / 'before/retrieval.json').touch()
    options = run.Options(
        [folder], 'x.csv', str(checkpoint), str(tmp_path), resume=True
    )
    with pytest.raises(CoAVTError, match='no checkpoint'):  # nothing was trained
        run._train_and_test('config', ['train', 'config'], {}, options, {})
    assert done == [('train', 'config', '--resume')]


def test_a_start_that_reads_no_captions_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(run.recipe, 'begin', lambda _: dict(model={}, pipeline=[]))
    with pytest.raises(CoAVTError, match='or give --labels'):
        run.run_finetuning(run.Options([], 'x.csv', 'x.pth', str(tmp_path / 'out')))
    assert not (tmp_path / 'out').exists()


def test_a_classifier_learns_no_captions(checkpoint):
    start = begin(str(checkpoint))
    model = label_model(start['model'], 3, 'single_label', 'frozen')
    assert model['frozen'] and model['head']['loss'] == 'ce'
    with pytest.raises(CoAVTError, match='knows no captions'):
        caption_model(model, 'x', 100, 10, 'all')


def test_sound_alone_learns_what_both_did():
    model = caption_model(begin(None)['model'], 'x', 500, 10, 'all', 'A')
    weights = model['matching_head']['streams']
    assert weights['A'] == weights['AV'] > 0
    assert model['query_encoder']['vocab_size'] == 500
    assert model['text_encoder']['config']['vocab_size'] == 500


def test_the_similarity_goes_on_judging():
    """A head that learnt what it leaves open says no to every pair without it."""
    start = begin(None)['model']
    assert start['matching_head'].get('similarity_offset') is None
    start['matching_head']['similarity_offset'] = 0.8
    model = caption_model(start, 'x', 500, 10, 'all')
    assert model['matching_head']['similarity_offset'] == 0.8
    assert caption_model({**start, 'matching_head': None}, 'x', 500, 10, 'all')


def test_the_statistics_of_sound_are_those_of_the_clips(folder, tmp_path):
    data = prepare_own(
        [folder], str(folder / 'captions.csv'), tmp_path / 'data', False, 0
    )
    sizes = run._sizes(data)
    assert sizes['seconds'] == 1.28 and np.isfinite(sizes['spec_mean'])
    assert sizes['spec_std'] > 0
