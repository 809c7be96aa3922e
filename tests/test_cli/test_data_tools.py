"""From the official csv and json files to one training step, as a user would go."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import torch

from coavt_mm.cli import launch
from coavt_mm.datasets.manifest import content_hash
from coavt_mm.preparation import layouts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/coavt/pretrain_vggsound.py'
IDS = ('--aaaa_aaa0', 'baaaaaaaa-1', 'Yaaaaaaaaa2', 'daaaaaaaaa3')

TINY = """
_base_ = [{base!r}]
pieces = len(open({vocabulary!r}).read().split())
width = 16
model = dict(
    data_preprocessor=dict(spec_frames=64),
    av_encoder=dict(
        embed_dims=width, num_heads=2, depths=(1, 1, 1), spec_size=(64, 128)),
    text_encoder=dict(config=dict(
        vocab_size=pieces + 1, hidden_size=width, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=width, max_position_embeddings=40)),
    query_encoder=dict(
        num_queries=3, embed_dims=width, num_heads=2, depth=2, hidden_dims=width,
        context_dims=width, vocab_size=pieces + 1),
    contrastive_head=dict(embed_dims=width, text_dims=width, proj_dims=8),
    matching_head=dict(embed_dims=width),
    lm_head=dict(embed_dims=width, vocab_size=pieces + 1, dec_token_id=pieces,
                 end_token_id=3),
)
train_dataloader = dict(
    batch_size=3, num_workers=0, persistent_workers=False, pin_memory=False)
val_dataloader = dict(
    batch_size=3, num_workers=0, persistent_workers=False, pin_memory=False)
train_cfg = dict(max_iters=1, val_interval=1)
param_scheduler = None
"""


@pytest.fixture
def tool(monkeypatch):
    """Runs a tool of tools/data in this process."""

    def run(name, *arguments):
        path = ROOT / f'tools/data/{name}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name='__main__')

    return run


@pytest.fixture
def train(tmp_path, vocabulary):
    """Trains a tiny CoAVT for one step; returns its checkpoint."""

    def run(data_root, ann_file='train.jsonl', *more, base=CONFIG):
        config = tmp_path / 'tiny.py'
        text = TINY.replace('{vocabulary!r}', repr(str(vocabulary)))
        config.write_text(text.replace('{base!r}', repr(str(base))))
        work = tmp_path / 'work'
        launch.train([
            str(config), '--work-dir', str(work), '--cfg-options',
            f'tokenizer={vocabulary}', f'data_root={data_root}',
            f'train_dataloader.dataset.ann_file={ann_file}', *more,
        ])  # fmt: skip
        return torch.load(work / 'iter_1.pth', weights_only=False)

    return run


def log(folder):
    return next((folder / 'work').rglob('*.log')).read_text()


def put(folder, make_clip, *names):
    """Clips of 0.6 s under the given names."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        options = dict(seconds=0.6, sound_seconds=0.6, frequency=300.0 + 100 * i)
        if path.suffix in ('.wav', '.flac'):
            codec = {'.wav': 'pcm_s16le', '.flac': 'flac'}[path.suffix]
            options.update(picture=False, codec=codec)
        shutil.copy(make_clip(path.suffix, **options), path)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_vggsound(tool, train, tmp_path, make_clip, capsys):
    clips, out = tmp_path / 'clips', tmp_path / 'vggsound'
    names = [f'{IDS[0]}_000030.mp4', f'x/{IDS[1]}_30000.mp4', f'Y{IDS[2]}_30.mp4']
    put(clips, make_clip, *names, f'{IDS[3]}_000007.mp4')
    (tmp_path / 'vggsound.csv').write_text(
        f'{IDS[0]},30,"bird chirping, tweeting",train\n'
        f'{IDS[1]},30,basketball bounce,train\n'
        f'{IDS[2]},30,ambulance siren,train\n'
        f'{IDS[3]},7,ambulance siren,test\n'
        f'{IDS[3]},8,ambulance siren,test\n'
    )
    options = ('--clips', clips, '--min-seconds', 0.5, '--out', out, '--workers', 1)
    tool('prepare_vggsound', tmp_path / 'vggsound.csv', *options, '--val-clips', 1)
    printed = capsys.readouterr().out
    assert 'train: 2 of 2 clips written' in printed
    assert 'val: 1 of 1 clips written' in printed
    assert 'val: 1 clips were cut from the training list' in printed
    assert 'val: 1 clips were cut' in (out / 'report.md').read_text()
    assert 'test: 1 of 2 clips written (1 missing)' in printed
    written = {row['id'] for x in ('train', 'val') for row in rows(out / f'{x}.jsonl')}
    assert written == {f'{name}_000030' for name in IDS[:3]}
    tool('check_leak', out / 'train.jsonl', out / 'test.jsonl')
    assert '0 clips of' in capsys.readouterr().out
    tool('make_protocol', 'vggsound-av-5', out / 'test.jsonl')
    assert train(out)['message_hub'] is not None
    text = log(tmp_path)
    for word in ('vggsound-val', content_hash(out / 'val.jsonl'), 'loss_matching_AV'):
        assert word in text

    for split in ('train', 'val'):
        folder = tmp_path / 'shards' / split
        options = ('--data-root', out, '--workers', 1, '--short-side', 224)
        tool('make_shards', out / f'{split}.jsonl', folder, *options)
    sharded = tmp_path / 'pretrain_vggsound_shards.py'
    line = CONFIG.read_text().replace(
        'datasets/vggsound.py', 'datasets/vggsound_shards.py'
    )
    sharded.write_text(line.replace("'../_base_/", f"'{ROOT}/configs/_base_/"))
    shutil.rmtree(clips)  # from here on the shards are all there is
    state = train(tmp_path / 'shards', 'train/index.jsonl', base=sharded)['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())


LAYOUTS = {
    'prepare_audioset': (
        'balanced_train_segments.csv',
        'balanced_train.jsonl',
        '# Segments csv created\n# num_ytids=3\n# YTID, start_seconds, ...\n'
        + ''.join(
            f'{name}, 30.000, 40.000, "/m/09x0r,/m/05zppz"\n' for name in IDS[:3]
        ),
        [f'Y{name}.mp4' for name in IDS[:3]],
    ),
    'prepare_audiocaps': (
        'train.csv',
        'train.jsonl',
        'audiocap_id,youtube_id,start_time,caption\n'
        + ''.join(
            f'9{i},{name},30,"A dog barks, number {i}"\n'
            for i, name in enumerate(IDS[:3])
        ),
        [f'video/{name}.mp4' for name in IDS[:3]]
        + [f'wav/{name}.wav' for name in IDS[:2]],
    ),
    'prepare_valor': (
        'desc_train.json',
        'train.jsonl',
        json.dumps([
            {'video_id': f'{name}_30.000_40.000', 'desc': f'the dog {i}'}
            for i, name in enumerate(IDS[:3])
        ]),
        [f'{name}_30.000_40.000.mp4' for name in IDS[:3]],
    ),
    'prepare_folder': (
        'texts.csv',
        'all.jsonl',
        'clip,caption,label\na.mp4,the dog,dog\nsub/b.mkv,,dog\nc,it barks,\n',
        ['a.mp4', 'sub/b.mkv', 'c.webm', 'c.flac'],
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', list(LAYOUTS))
def test_other_layouts(tool, train, tmp_path, make_clip, name):
    list_name, manifest, text, clips = LAYOUTS[name]
    if name == 'prepare_folder':
        clips = [clip.replace('.webm', '.mp4') for clip in clips]
    put(tmp_path / 'clips', make_clip, *clips)
    (tmp_path / list_name).write_text(text)
    given = ['--csv'] if name == 'prepare_folder' else []
    tool(
        name, *given, tmp_path / list_name, '--clips', tmp_path / 'clips',
        '--out', tmp_path, '--min-seconds', 0.5, '--workers', 1,
    )  # fmt: skip
    written = rows(tmp_path / manifest)
    assert len(written) == 3
    assert sum('audio' in row for row in written) == sum(
        Path(clip).suffix in ('.wav', '.flac') for clip in clips
    )
    checkpoint = train(
        tmp_path, manifest, f'val_dataloader.dataset.ann_file={manifest}'
    )
    assert checkpoint['meta']['iter'] == 1
    for key, value in checkpoint['state_dict'].items():
        assert torch.isfinite(value).all(), key


@pytest.fixture
def prepare_folder(tool, tmp_path):
    """Runs the tool on a csv given as bytes, over the folder clips; returns its out."""

    def run(content, *options):
        (tmp_path / 'texts.csv').write_bytes(content)
        out = tmp_path / 'out'
        tool(
            'prepare_folder', '--clips', tmp_path / 'clips', '--csv',
            tmp_path / 'texts.csv', '--out', out, '--min-seconds', 0.1, *options,
        )  # fmt: skip
        return out

    return run


def test_own_list_as_people_write_it(prepare_folder, tool, tmp_path, make_clip, capsys):
    put(tmp_path / 'clips', make_clip, '#1.mp4', 'a.mp4', 'Lücke.mp4')
    (tmp_path / 'clips' / os.fsdecode(b'L\xfccke 2.mp4')).write_bytes(b'no film')
    out = prepare_folder(
        '\ufeffClip,Caption,START,end,split,\r\n'
        '#1.mp4,a hash,,,train,\r\na.mp4,first,0.1,0.3,train,\r\n'
        'a.mp4,longer,0.1,0.5,train,\r\na.mp4,also first,0.1,0.3,train,\r\n'
        'Lücke,a Hash,,,train,\r\ngone.mp4,x,,,test,\r\na,y,,,test,\r\n'
        ',,,,,\r\n'.encode(),
        '--workers', 1,
    )  # fmt: skip
    assert {row['id']: row['captions'] for row in rows(out / 'train.jsonl')} == {
        '#1.mp4': ['a hash'],
        'a.mp4_000000.100_000000.300': ['first', 'also first'],
        'a.mp4_000000.100_000000.500': ['longer'],
        'Lücke': ['a Hash'],
    }
    printed = capsys.readouterr().out
    shared = '1 captions are shared by several clips, 2 in all'
    assert f'train: 4 of 4 clips written; {shared}' in printed
    assert 'test: 1 of 2 clips written (1 missing)' in printed
    options = ('--content', '--train-root', out, '--test-root', out)
    tool('check_leak', out / 'train.jsonl', out / 'test.jsonl', *options)
    assert '2 clips of' in capsys.readouterr().out


def test_a_folder_with_a_name_in_other_bytes(tool, tmp_path, make_clip, monkeypatch):
    said = []
    monkeypatch.setattr(layouts, 'print_log', lambda text, **_: said.append(text))
    put(tmp_path / 'clips', make_clip, 'a.mp4', 'b.mp4')
    strange = tmp_path / 'clips' / os.fsdecode(b'L\xfccke.mp4')
    shutil.copy(tmp_path / 'clips/a.mp4', strange)
    out = tmp_path / 'out'
    tool('prepare_folder', '--clips', tmp_path / 'clips', '--out', out,
         '--min-seconds', 0.1, '--workers', 2)  # fmt: skip
    assert [row['id'] for row in rows(out / 'all.jsonl')] == ['a', 'b']
    (text,) = said
    assert '1 files are left out' in text and r'L\xfccke.mp4' in text


def test_a_list_may_write_paths_in_any_way(prepare_folder, tmp_path, make_clip):
    names = ['é.mp4', 'b.mp4', 'c.mp4', 'd.mp4']
    names[0] = unicodedata.normalize('NFD', names[0])
    put(tmp_path / 'clips', make_clip, *names, '._b.mp4')
    listed = [
        unicodedata.normalize('NFC', names[0]), './b.mp4', tmp_path / 'clips/c.mp4', 'd'
    ]  # fmt: skip
    text = 'clip,caption\n' + ''.join(f'{name},x{i}\n' for i, name in enumerate(listed))
    out = prepare_folder(text.encode(), '--workers', 0)
    found = rows(out / 'all.jsonl')
    assert [row['captions'] for row in found] == [['x0'], ['x1'], ['x2'], ['x3']]
    assert [Path(row['clip']).name for row in found] == names


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('clip,caption\na,Käfer\n'.encode('cp850'), 'texts.csv:2: .*"CSV UTF-8"'),
        (b'clip,caption\na,b\0\n', 'texts.csv:2: .*NUL bytes'),
        (b'clip;caption\na,b\n', 'texts.csv:2: .*semicolons'),
        (b'a.mp4;a dog\n', "texts.csv:1: .*no column 'clip'.* such as 'clip,caption'"),
        (b'clip,split\na,../../x\n', "texts.csv:2: split '../../x'"),
        (b'clip,split\na,journal\n', "split can't be named 'journal'"),
        (b'clip,start\na,1e15\n', 'texts.csv:2: start must be 0 s or later'),
    ],
)
def test_a_bad_list_is_one_line(
    prepare_folder, tmp_path, make_clip, capsys, content, message
):
    put(tmp_path / 'clips', make_clip, 'a.mp4')
    with pytest.raises(SystemExit):
        prepare_folder(content)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f'^Error: .*{message}', line)
    assert {path.name for path in tmp_path.iterdir()} == {'clips', 'texts.csv'}


def test_training_without_data_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools/train.py'), str(CONFIG),
         '--work-dir', str(tmp_path / 'work'), '--cfg-options',
         'model.av_encoder.depths=(1,1,1)', 'model.query_encoder.depth=2'],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=800,
    )  # fmt: skip
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith('Error: ')]
    assert len(errors) == 1
    assert 'train.jsonl is missing; looked for' in errors[0]
    assert 'coavt prepare vggsound' in errors[0]
    assert 'Traceback' not in done.stderr
