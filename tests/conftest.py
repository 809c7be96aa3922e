"""Fixtures that several parts share: media files, and a vocabulary."""

import gc
import json
from multiprocessing import get_context

import numpy as np
import pytest
from faulty_decoders import faulty  # noqa: F401  a fixture
from media_files import write_clip
from mmengine.config import config
from shard_corpus import copied, corpus, made  # noqa: F401  fixtures
from toy_runs import toy_cfg, toy_config  # noqa: F401  fixtures
from yapf.yapflib import yapf_api

# by the server from which processes are forked; found without the path of the tests,
# which it does not have on Python 3.11
IMPORTED_ONCE = ['coavt_mm.engine.running', 'coavt_mm.evaluation']
get_context('forkserver').set_forkserver_preload(IMPORTED_ONCE)


@pytest.fixture(scope='module', autouse=True)
def no_garbage():
    """What is there stays. Without, mmengine's collector, which each data set starts,
    walks over all loaded modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def no_layout():
    """The text of a run's config is laid out by yapf, which takes longer than a small
    run; nobody reads it here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (config, yapf_api):  # mmengine's place, its fork's
            name = 'FormatCode'
            patch.setattr(module, name, lambda text, **_: (text, 1), raising=False)
        yield


@pytest.fixture(scope='session')
def make_clip(tmp_path_factory):
    """Returns `write_clip` without the path: the same options give the same file."""
    root, written = tmp_path_factory.mktemp('media'), {}

    def make(suffix='.mp4', **options):
        key = json.dumps([suffix, options], sort_keys=True)
        if key not in written:
            path = root / f'clip{len(written)}{suffix}'
            written[key] = write_clip(path, **options)
        return written[key]

    return make


@pytest.fixture(scope='session')
def clip(make_clip):
    """A clip of 2 s, 20 frames of 64 x 48 pixels, with a 440 Hz tone."""
    return make_clip()


@pytest.fixture(scope='session')
def vocabulary(tmp_path_factory):
    """A WordPiece vocabulary file of letters and some words, without [DEC]."""
    letters = [chr(code) for code in range(ord('a'), ord('z') + 1)]
    pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'dog', 'barks']
    pieces += letters + [f'##{letter}' for letter in letters] + ['.', ',']
    path = tmp_path_factory.mktemp('vocabulary') / 'vocab.txt'
    path.write_text('\n'.join(pieces) + '\n')
    return path


@pytest.fixture(scope='session')
def horrors(tmp_path_factory, make_clip):
    """The chamber of horrors: name -> path; what a field's data folder holds."""
    root = tmp_path_factory.mktemp('horrors')
    good = make_clip(seconds=4.0, gop=5).read_bytes()
    first = make_clip(seconds=4.0, gop=5, options={'movflags': 'faststart'})
    first = first.read_bytes()
    files = {
        'truncated': good[: len(good) // 2],
        'truncated_index_first': first[: len(first) // 2],
        'zero_bytes': b'',
        'text': b'this is no film at all\n' * 50,
        'noise': np.random.default_rng(0).bytes(5000),
    }
    mkv = make_clip('.mkv', seconds=4.0, gop=5).read_bytes()
    (root / 'truncated.mkv').write_bytes(mkv[: len(mkv) // 2])
    for name, content in files.items():
        (root / f'{name}.mp4').write_bytes(content)
    paths = {name: root / f'{name}.mp4' for name in files}
    strange = root / 'Ordner mit Lücke' / 'naïve 映画 (1) #2%.mp4'
    strange.parent.mkdir()
    strange.write_bytes(make_clip().read_bytes())
    return dict(
        paths,
        truncated_mkv=root / 'truncated.mkv',
        missing=root / 'not_there.mp4',
        folder=strange.parent,
        strange_name=strange,
        no_sound=make_clip(sound=False),
        silent=make_clip(silent=True),
        short_sound=make_clip(sound_seconds=0.7),
        no_picture=make_clip(picture=False),
        six_channels=make_clip(channels=6, sound_rate=48000),
        rate_8k=make_clip(sound_rate=8000),
        rate_96k=make_clip(sound_rate=96000),
        odd_size=make_clip(size=(65, 37)),
        mkv_short_sound=make_clip('.mkv', sound_seconds=0.7),
        one_frame=make_clip(frames=1, sound_seconds=2.0),
        rotated=make_clip(rotation=90),
        rotated_180=make_clip(rotation=180),
        rotated_270=make_clip(rotation=270),
    )


@pytest.fixture
def forked(monkeypatch):
    """What a test has replaced is replaced in the processes of ``run_each``, too."""
    monkeypatch.setattr('threading.active_count', lambda: 1)
