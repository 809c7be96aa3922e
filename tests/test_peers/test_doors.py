"""The doors that a CoAVT has, and their protocols, with encoders of others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coavt_mm import apis
from coavt_mm.cli import launch
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.evaluation.records import read_records
from coavt_mm.models.similarity import similarity, texts_for

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/peers'
STREAMS = dict(clap=['A'], clip=['V'], siglip=['V'], pe_audio_video=['AV', 'A', 'V'])
kinds = pytest.mark.parametrize('kind', ['clap', 'clip', 'pe_audio_video'])


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Folder of a few demo clips."""
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=1, test_clips=5, val_clips=1), 1)
    return root


def run_test(name, peer, shapes, tmp_path, **options):
    """A shipped config on demo clips -> its numbers."""
    options = {
        'test_dataloader.dataset.data_root': shapes,
        'test_dataloader.dataset.ann_file': 'test.jsonl',
        'test_dataloader.num_workers': 0,
        'test_evaluator.out_dir': None,  # pictures take their time
        **options,
    }
    given = [f'{key}={value}' for key, value in options.items()]
    command = [str(CONFIGS / f'{name}.py'), str(peer), '--work-dir', str(tmp_path)]
    return launch.test([*command, '--cfg-options', *given])


@kinds
def test_retrieval(kind, folder, peer, shapes, tmp_path):
    """Streams apart: ranks of the metric are those of cosines computed by hand."""
    file = tmp_path / 'features.pth'
    options = {
        'test_evaluator.features_file': file,
        'test_evaluator.feature_dtype': 'float32',
    }
    if kind == 'clap':  # its window is of 1 s here
        options['test_dataloader.dataset.pipeline.LoadAudio.seconds'] = 1.0
    numbers = run_test('peer_retrieval_demo', folder(kind), shapes, tmp_path, **options)
    streams = STREAMS[kind]
    assert {key.split('/')[2] for key in numbers if 'text_to_clip' in key} == {*streams}
    _, records = read_records(file)
    for stream in streams:
        assert numbers[f'retrieval/text_to_clip/{stream}/R@1'] == _first(
            records, stream
        )
    _check_embed(peer(kind), records, 16 if kind != 'clap' else 0)


def _first(records, stream):
    """R@1 by hand."""
    clips = torch.stack([record['clip_feats'][stream] for record in records])
    ranks = []
    for row, record in enumerate(records):
        texts = texts_for(record['caption_feats'], stream)
        scores = similarity(texts, clips)
        for about, own in zip(record['text_streams'], scores, strict=True):
            if about in ('AV', stream):
                ranks.append(1 + int((own >= own[row] - 1e-6).sum()) - 1)
    return pytest.approx(100 * np.mean([rank == 1 for rank in ranks]))


def _check_embed(model, records, frames):
    """The inferencer gives what the test has extracted, where it sees as much."""
    paths = [record['clip_path'] for record in records]
    texts = [text for record in records for text in record['texts']]
    found = model.embed(paths, text=texts, windows=False)
    captions = torch.cat([record['caption_feats'] for record in records])
    own = torch.stack([torch.from_numpy(t['embedding']) for t in found['texts']])
    torch.testing.assert_close(own, captions, atol=1e-5, rtol=0)
    for record, clip in zip(records, found['clips'], strict=True):
        (window,) = clip['windows']
        assert window['embeddings'].keys() == record['clip_feats'].keys()
        for stream, feats in record['clip_feats'].items():
            if stream == 'A' or len(feats) == frames:
                own = torch.from_numpy(window['embeddings'][stream])
                torch.testing.assert_close(own, feats, atol=1e-5, rtol=0)


def test_sound_and_picture(folder, shapes, tmp_path):
    numbers = run_test(
        'peer_av_retrieval_vggsound', folder('pe_audio_video'), shapes, tmp_path
    )
    assert 20 <= numbers['av_retrieval/audio_to_visual/query/R@5'] <= 100


@kinds
def test_zero_shot(kind, folder, shapes, tmp_path):
    options = {'test_dataloader.dataset.missing': 'raise'}
    if kind == 'clap':
        options['test_dataloader.dataset.pipeline.LoadAudio.seconds'] = 1.0
    numbers = run_test(
        'peer_zeroshot_vggsound',
        folder(kind),
        shapes,
        tmp_path,
        **options,
        **{'test_evaluator.task': 'multi_label'},
    )
    fused = {'AV+A+V'} if kind == 'pe_audio_video' else set()
    assert {key.split('/')[1] for key in numbers} == {*STREAMS[kind]} | fused


@kinds
def test_search(kind, peer, shapes, tmp_path):
    """An index is asked by words, in one stream, and by what is in it."""
    index_module = pytest.importorskip('coavt_mm.search.index')
    pytest.importorskip('faiss', reason='the extra search is not installed')
    model, manifest = peer(kind), str(shapes / 'test.jsonl')
    clips = sorted(clip['video'] for clip in apis.read_clips(manifest))
    create = index_module.Index.create
    with create(tmp_path / 'index', model, 'org/name') as index:
        # the hub is not asked by an index
        assert index.settings['checkpoint'] == model.model.folder
        index.add(model, [manifest])
        stream = STREAMS[kind][-1]
        sense = dict(sound=clips[1]) if stream == 'A' else dict(picture=clips[1])
        hits = index.query(model, **sense, stream=stream)['hits']
        assert hits[0]['clip'] == clips[1]
        assert hits[0]['similarity'] == pytest.approx(1, abs=2e-3)
        hits = index.query(model, 'a bell', stream=stream)['hits']
    right = model.retrieve('a bell', clips, stream=stream)[0]['hits']
    assert [hit['clip'] for hit in hits] == [hit['candidate'] for hit in right]
    found = [hit['similarity'] for hit in hits]
    assert found == pytest.approx([hit['similarity'] for hit in right], abs=2e-3)
