import pytest
from mmengine.config import Config

from coavt_mm.analysis.training_curves import planned_stages


def config(curriculum, batch_size=32):
    sampler = dict(type='ResumableSampler', curriculum=curriculum)
    return Config(dict(train_dataloader=dict(batch_size=batch_size, sampler=sampler)))


def test_stages_begin_at_their_samples_and_have_names():
    curriculum = [
        dict(epochs=4, captions=dict(visual_captions=1.0), streams=('A', 'V')),
        dict(
            epochs=5, captions=dict(audio_captions=0.6, captions=0, visual_captions=1)
        ),
        dict(epochs=2, hardness=1.0),
        dict(group_size=8),
    ]
    stages = planned_stages(config(curriculum), 3000)
    assert [stage.begin for stage in stages] == [0, 375, 843.75, 1031.25]
    assert [stage.name for stage in stages] == [
        'V captions',
        'A, V captions',
        'all captions',
        'all captions in groups of 8 similar clips',
    ]


def test_what_follows_the_last_stage_is_one_too():
    stages = planned_stages(config([dict(epochs=0.5, group_size=2)], 10), 100, 2)
    assert [stage.begin for stage in stages] == [0, 2.5]
    assert stages[1].name == 'all captions'


@pytest.mark.parametrize('sampler', [{}, dict(type='DefaultSampler')])
def test_no_curriculum_no_stages(sampler):
    cfg = Config(dict(train_dataloader=dict(batch_size=1, sampler=sampler)))
    assert planned_stages(cfg) == []
