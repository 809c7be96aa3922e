"""A small corpus, raw and as shards."""

import pytest
from media_files import tone, write_rows, write_sound


@pytest.fixture(scope='session')
def corpus(tmp_path_factory, make_clip):
    """Eleven good clips of several kinds, and one that can't be read (`broken`)."""
    root = tmp_path_factory.mktemp('corpus')
    flac = write_sound(root / 'sound.flac', tone(880.0, 2.0, 16000), 16000)
    wav = write_sound(root / 'sound.wav', tone(880.0, 2.0, 44100), 44100)
    (root / 'broken.mp4').write_text('no film at all')
    clips = dict(
        plain=make_clip(),
        wide=make_clip(size=(160, 96)),
        six_channels=make_clip(channels=6, sound_rate=48000),
        odd=make_clip(size=(65, 37)),
        no_sound=make_clip(sound=False),
        silent=make_clip(silent=True),
        no_picture=make_clip(picture=False),
        short_sound=make_clip(sound_seconds=0.7),
        long=make_clip(seconds=4.0),
        flac_beside=make_clip(sound=False),
        wav_beside=make_clip(),
        broken=root / 'broken.mp4',
    )
    rows = [
        {'id': name, 'clip': str(path), 'captions': [f'about {name}'],
         'audio_captions': ['heard'], 'labels': ['dog' if i % 2 else 'cat']}
        for i, (name, path) in enumerate(clips.items())
    ]  # fmt: skip
    rows[8].update(start=1.0, end=3.5)
    rows[9]['audio'], rows[10]['audio'] = str(flac), str(wav)
    write_rows(root / 'corpus.jsonl', rows)
    (root / 'corpus.meta.json').write_text(
        '{"protocol": "small-12", "missing": 3, "classes": ["cat", "dog"]}'
    )
    return root / 'corpus.jsonl'


@pytest.fixture(scope='session')
def made(corpus, tmp_path_factory):
    """The folder of the shards of the corpus, three to four clips each."""
    from coavt_mm.preparation.shards import Settings, make_shards

    folder = tmp_path_factory.mktemp('shards')
    settings = Settings(short_side=48, quality=95)
    make_shards(corpus, folder, settings=settings, per_shard=4)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the shards that a test may damage."""
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path
