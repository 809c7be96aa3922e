import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_apis
import torch
import torch.nn.functional as F
from api_fixtures import checkpoint, coavt, short  # noqa: F401

from coavt_mm.apis import load_model
from coavt_mm.batches import caption_key, stable_key
from coavt_mm.checkpoints import config_to_json, read_stored_config, save_weights
from coavt_mm.checkpoints.stored_config import KEY
from coavt_mm.cli.writing import write_answers
from coavt_mm.datasets.sources import FileSource
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.models import TeacherHead
from coavt_mm.models.losses import Similarity
from coavt_mm.registry import MODELS

CLIPS, TEXTS = ['a', 'b', 'c', 'd'], ['One', 'two', 'three', 'four']


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1).numpy()


@pytest.fixture
def features(tmp_path):
    """A file like those of `coavt embed`: 'd' has no sound, 'a' a second window."""
    torch.manual_seed(0)
    heard = unit(5, 1, 2, 6)
    heard[4] = np.nan
    path = tmp_path / 'teacher.npz'
    np.savez(
        path,
        clip=np.array(['a', *CLIPS]),
        start=np.array([10.0, 0, 0, 0, 0]),
        AV=unit(5, 3, 2, 6),
        A=heard,
        text=np.array(TEXTS),
        text_embedding=unit(4, 6),
    )
    return path


def batch_of(clips, texts, similarity, valid=None):
    valid = torch.ones(len(clips), dtype=torch.bool) if valid is None else valid
    return SimpleNamespace(
        clip_key=torch.tensor([stable_key(name) for name in clips]),
        caption_key=torch.tensor([caption_key(text) for text in texts]),
        valid=dict.fromkeys('A', valid) | {'AV': valid},
        all_valid=dict.fromkeys('A', valid) | {'AV': valid},
        similarity=dict.fromkeys(('AV', 'A'), similarity),
    )


def cosines(features, stream, clips, texts):
    """Of clips (rows) with texts, by hand."""
    stored = np.load(features)
    found = np.zeros((len(clips), len(texts)))
    for i, clip in enumerate(clips):
        (row,) = [j for j, name in enumerate(stored['clip'])
                  if name == clip and stored['start'][j] == 0]  # fmt: skip
        for k, text in enumerate(texts):
            words = stored['text_embedding'][TEXTS.index(text)]
            each = [[query @ words for query in frame] for frame in stored[stream][row]]
            found[i, k] = np.mean([max(frame) for frame in each])
    return torch.from_numpy(found).float()


def divergence(ours, theirs):
    found = 0.0
    for p, q in zip(theirs.softmax(1), ours.softmax(1), strict=True):
        found += sum(float(a * (a.log() - b.log())) for a, b in zip(p, q, strict=True))
    return found / len(ours)


def test_it_is_the_divergence_from_the_teachers_answers(features):
    clips, texts = ['c', 'a', 'b'], ['three', 'One', 'two']
    ours = torch.randn(3, 3)
    head = TeacherHead(str(features), dict(AV=2.0), temperature=0.1)
    found = head.losses(batch_of(clips, texts, Similarity(ours, ours.T)))
    theirs = cosines(features, 'AV', clips, texts) / 0.1
    expected = divergence(ours, theirs) + divergence(ours.T, theirs.T)
    assert found['loss_teacher_AV'] == pytest.approx(expected, abs=1e-5)  # 2 / 2
    assert found['taught'] == 1
    same = head.losses(batch_of(clips, texts, Similarity(theirs, theirs.T)))
    assert float(same['loss_teacher_AV']) == pytest.approx(0, abs=1e-6)


def test_what_the_file_lacks_does_not_count(features):
    """An unknown clip, an unknown caption, and a stream that the clip lacks."""
    clips, texts = ['x', 'a', 'b', 'c', 'd'], ['One', 'ONE ', 'two', 'no', 'four']
    ours = torch.randn(5, 5)
    head = TeacherHead(str(features), dict(A=1.0))
    valid = torch.tensor([True] * 5)
    whole = head.losses(batch_of(clips, texts, Similarity(ours, ours.T), valid))
    part = ours[1:3, 1:3]
    theirs = cosines(features, 'A', ['a', 'b'], ['One', 'two']) / 0.05
    expected = (divergence(part, theirs) + divergence(part.T, theirs.T)) / 2
    assert whole['loss_teacher_A'] == pytest.approx(expected, abs=1e-5)
    assert float(whole['taught']) == pytest.approx(2 / 5)


def test_files_of_other_kinds(features, tmp_path):
    def refused(match, **options):
        with pytest.raises(ConfigError, match=match):
            TeacherHead(**options)

    refused('is not there; coavt embed', features_file=str(tmp_path / 'no.npz'))
    refused('no features of stream V', features_file=str(features), streams=dict(V=1))
    (tmp_path / 'text.npz').write_text('no numbers')
    refused('can not be read', features_file=str(tmp_path / 'text.npz'))
    np.savez(tmp_path / 'other.npz', AV=np.zeros(3))
    refused('has no clip', features_file=str(tmp_path / 'other.npz'))
    refused('temperature must be above 0', temperature=0.0)
    head, ours = TeacherHead(str(features)), torch.zeros(2, 2)
    with pytest.raises(ConfigError, match='none of the clips of the first batch'):
        head.losses(batch_of(['x', 'y'], TEXTS[:2], Similarity(ours, ours)))
    with pytest.raises(ConfigError, match='features_file is None'):
        TeacherHead().losses(batch_of(['a'], ['One'], Similarity(ours, ours)))


def test_a_model_teaches_another(vocabulary, short, coavt, tmp_path):  # noqa: F811
    """From `embed` to the gradient, and to a checkpoint that needs no teacher."""
    path, clips = tmp_path / 'teacher.npz', [dict(video=short, name=x) for x in 'ab']
    write_answers(coavt.embed(clips, text=['the dog', 'barks']), path)
    cfg = tiny_apis.coavt_cfg(vocabulary)
    cfg.model.extra_heads = dict(
        teacher=dict(
            type='TeacherHead', features_file=str(path), streams=dict(AV=1, A=1)
        )
    )
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    samples = []
    for name, text in zip('ab', ['the dog', 'barks'], strict=True):
        row = dict(coavt.pipeline(_row(short, name)))
        ids = coavt.texts.tokens([text])[0]
        row['inputs'].update(input_ids=ids, caption_lengths=torch.tensor([len(ids)]))
        row['data_samples'].set_metainfo(dict(texts=[text], text_streams=['AV']))
        samples.append(row)
    data = coavt._init_collate(None)(samples)
    data = model.data_preprocessor(data, False)
    losses = model(**data, mode='loss')
    assert losses['taught'] == 1
    (losses['loss_teacher_AV'] + losses['loss_teacher_A']).backward()
    assert model.query_encoder.query_tokens.grad.abs().sum() > 0
    stored = tmp_path / 'student.pth'
    assert not any('extra_heads' in name for name in model.state_dict())
    save_weights(model.state_dict(), stored, config=config_to_json(cfg, model))
    path.unlink()
    assert load_model(stored, show_progress=False).embed(short)['clips']


def _row(clip, name):
    source = FileSource(str(clip))
    row = dict(clip_path=str(clip), audio_path=str(clip), start=0.0, end=None)
    return dict(row, picture=source, sound=source, sample_id=name, sample_idx=0)


@pytest.mark.parametrize(
    'part',
    [
        dict(type='PeerEncoder', path='laion/clap-htsat-unfused'),
        dict(type='CoAVT', extra_heads=dict(x=dict(type='TeacherHead',
                                                   features_file='/etc/x.npz'))),
    ],
)  # fmt: skip
def test_a_stored_config_can_not_name_files(part, vocabulary):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    text = config_to_json(cfg, MODELS.build(cfg.model))
    stored = json.loads(text)
    stored['model'] = part if part['type'] == 'PeerEncoder' else stored['model'] | part
    with pytest.raises(CheckpointError, match='path|features_file|PeerEncoder'):
        read_stored_config(dict(meta={KEY: json.dumps(stored)}), 'x.pth')
