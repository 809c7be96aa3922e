"""A folder of files of strange build, through the doors that a user takes."""

import json
from fractions import Fraction

import numpy as np
import pytest
from media_files import tone
from PIL import Image
from strange_media import (
    cut,
    number,
    without_codec,
    write_float_wav,
    write_pcm_wav,
    write_strange,
)

from coavt_mm.apis import caption, embed, match
from coavt_mm.cli.infer import main
from coavt_mm.datasets import AVTDataset
from coavt_mm.preparation import FolderIndex, ListedClip, prepare

# name: (streams of its first windows, length in s)
GOOD = {
    'cut.mp4': (['AV', 'A', 'V'], 1.45),
    'film.wav': (['A'], 1.0),
    'live.webm': (['AV', 'A', 'V'], 3.0),
    'offset.mkv': (['AV', 'A', 'V'], 3.0),
    'offset.ts': (['AV', 'A', 'V'], 3.03),
    'uneven.mp4': (['V'], 9.1),
    'wide.mp4': (['V'], 3.0),
}
BAD = {
    'blind.mp4': 'codec of its picture',
    'list.mp4': 'playlist',
    'nan.wav': 'NaN or inf',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('folder')
    whole = write_strange(root / '..' / 'whole.mp4')
    cut(whole, root / 'cut.mp4', 1.55, 1.0)
    without_codec(whole, root / 'blind.mp4')
    write_strange(root / 'offset.mkv', video_start=600, audio_start=600)
    write_strange(root / 'offset.ts', video_start=600, audio_start=600)
    write_strange(root / 'wide.mp4', aspect=Fraction(2), audio=None)
    write_strange(root / 'uneven.mp4', audio=None, pts=[0, 1, 2, 30, 31, 32, 90])
    write_strange(root / 'live.webm', 'webm', 'libvpx', 'libopus', piped=True,
                  options={'live': '1'})  # fmt: skip
    write_pcm_wav(
        root / 'film.wav', 0.5 * np.ones((8, 1)) * tone(440, 1.0, 16000), 16000
    )
    samples = tone(440.0, 1.0, 16000)
    samples[77] = np.nan
    write_float_wav(root / 'nan.wav', samples)
    (root / 'list.mp4').write_text('#EXTM3U\n#EXTINF:2.0,\nwhole.mp4\n')
    (root / '._cut.mp4').write_bytes(b'\x00\x05\x16\x07' + bytes(4092))
    return root


def test_embed_a_folder(folder, coavt):
    found = embed(str(folder), model=coavt)['clips']
    by_name = {clip['clip'].rpartition('/')[2]: clip for clip in found}
    assert sorted(by_name) == sorted({**GOOD, **BAD})
    for name, reason in BAD.items():
        assert reason in by_name[name]['error'] and name in by_name[name]['error']
    for name, (streams, length) in GOOD.items():
        clip = by_name[name]
        assert clip['streams'] == streams, name
        assert clip['windows'][0]['start'] == 0
        assert clip['windows'][-1]['end'] == pytest.approx(length, abs=0.05)
        assert len(clip['windows']) == pytest.approx(length / 0.5, abs=1)
        for window in clip['windows']:
            for feats in window['embeddings'].values():
                assert np.isfinite(feats).all()


def test_pictures_are_clips(tmp_path, coavt):
    path = tmp_path / 'still.webp'
    Image.new('RGB', (40, 30), (200, 100, 50)).save(path)
    (found,) = embed(str(path), model=coavt)['clips']
    assert found['streams'] == ['V'] and len(found['windows']) == 1
    (told,) = caption(str(path), model=coavt)
    assert told['captions'][0]['stream'] == 'V'
    sound = write_pcm_wav(tmp_path / 's.wav', tone(440, 1.4, 16000)[None], 16000)
    both = dict(video=str(path), audio=str(sound))
    (found,) = match(both, ['dog'], model=coavt)
    assert found['streams'] == ['AV', 'A', 'V']


@pytest.mark.slow
def test_the_command_line(folder, checkpoint, tmp_path, capsys):
    out = tmp_path / 'answers.json'
    with pytest.raises(Exception, match='3 of 10'):
        main(['caption', str(checkpoint), str(folder), '--device', 'cpu',
              '--out', str(out)])  # fmt: skip
    answers = json.loads(out.read_text(encoding='utf-8'))
    assert len(answers) == 10
    assert sum('error' in answer for answer in answers) == 3


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_prepare_and_train(folder, tmp_path, workers):
    index = FolderIndex([folder])
    splits = dict(all=[ListedClip(name) for name in index.names()])
    report = prepare(
        splits, index, tmp_path, dataset='own', workers=workers, min_seconds=0.5
    )['splits']['all']
    assert report['listed'] == 10 and report['written'] == 7
    unreadable = report['problems']['unreadable']
    assert len(unreadable) == 3
    for name, reason in BAD.items():
        assert reason in unreadable[name.rpartition('.')[0]]
    load = [
        dict(type='LoadFrames', num_frames=10, pick='all'),
        dict(type='LoadAudio', seconds=3.0),
    ]
    dataset = AVTDataset(str(tmp_path / 'all.jsonl'), str(tmp_path), pipeline=load)
    samples = {sample['sample_id']: sample for sample in dataset}
    assert len(samples) == 7
    shown = [number(image) for image in samples['cut']['imgs']]
    assert shown == [16, 18, 19, 21, 22, 23, 25, 26, 28, 29]
    for name in ('live', 'wide'):
        shown = [number(image) for image in samples[name]['imgs']]
        assert shown == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]
    assert samples['wide']['img_shape'] == (64, 128)
