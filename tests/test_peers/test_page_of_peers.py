"""peers.md runs as it is written, in a folder where the hub ids are folders."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tiny_peers
from mmengine.config import Config

from coavt_mm.cli import launch
from coavt_mm.cli.main import main as coavt
from coavt_mm.config import load_config
from coavt_mm.registry import MODELS

pytest.importorskip('faiss', reason='the extra search (faiss-cpu) is not installed')

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/peers.md').read_text(encoding='utf-8')
IDS = {
    'facebook/pe-av-base-16-frame': 'pe_audio_video',
    'laion/clap-htsat-unfused': 'clap',
    'openai/clip-vit-base-patch32': 'clip',
}


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch, folder, make_clip):
    monkeypatch.chdir(tmp_path)
    for name, kind in IDS.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to(folder(kind))
    Path('my_clips').mkdir()
    shutil.copy(make_clip(seconds=0.5), 'my_clips/a.mp4')
    Path('configs').symlink_to(ROOT / 'configs')
    Path('data/own').mkdir(parents=True)
    row = dict(id='a', clip=str(Path('my_clips/a.mp4').resolve()))
    row.update(captions=['a dog barks'], audio_captions=['a dog barks', 'it rings'])
    Path('data/own/train.jsonl').write_text(json.dumps(row) + '\n')
    Path('peers').mkdir()
    Path('peers/pe-av-base').symlink_to(folder('pe_audio_video'))


def test_every_command_and_the_python_of_the_page(place, capsys):
    lines = [line for block in blocks('shell') for line in block.splitlines()]
    for line in lines:
        if line.startswith('coavt'):
            coavt(shlex.split(line)[1:])
            assert capsys.readouterr().out.strip(), line
        else:  # the data are not here: test_doors.py runs the configs
            words = line.removeprefix('python tools/test.py ')
            args = launch.test.parse(words.split())
            assert load_config(args.config, {}).model.type == 'PeerEncoder'
            assert args.checkpoint in IDS
    assert len(lines) == 10
    search, convert, teacher, config = blocks('python')
    exec(compile(search, 'peers.md', 'exec'), {})
    assert capsys.readouterr().out == 'my_clips/a.mp4\n'
    Path('peers/clap').unlink(missing_ok=True)
    exec(compile(convert, 'peers.md', 'exec'), {})
    assert Path('peers/clap/model.safetensors').is_file()
    Path('part.py').write_text(config)
    model = MODELS.build(Config.fromfile('part.py').model)
    assert model.streams == ('A',)
    Path('part.py').write_text(teacher)
    heads = Config.fromfile('part.py').model.extra_heads
    assert MODELS.build(heads.teacher).texts.shape == (2, 3, 16)


def test_the_page_names_all_kinds():
    assert all(f'`{kind}`' in PAGE for kind in tiny_peers.KINDS)
