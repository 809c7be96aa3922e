import pickle

import pytest
from mmengine.config import ConfigDict

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.errors import ConfigError

STAGES = [
    dict(epochs=2, captions=dict(visual_captions=1.0), hardness=0.1),
    dict(epochs=0.5, streams=('A', 'V'), weights=dict(lm_head=2.0)),
    dict(epochs=3, hardness=[(1, 0.5), (3.5, 1.5)]),
    dict(group_size=4),
]


def test_stages_follow_each_other():
    curriculum = Curriculum(STAGES)
    times = (0, 1.99, 2, 2.49, 2.5, 5.49, 5.5, 1000)
    assert [curriculum.index(t) for t in times] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert curriculum.stage(2.2) == STAGES[1]
    assert curriculum.is_grouped and curriculum.needs_hook


def test_after_the_last_stage_all_is_as_the_config_says():
    curriculum = Curriculum([dict(epochs=2, captions=dict(captions=1.0))])
    assert (curriculum.index(1.9), curriculum.index(2)) == (0, 1)
    assert curriculum.stage(2) == {}
    assert not curriculum.needs_hook and not curriculum.is_grouped


@pytest.mark.parametrize(
    'epoch, hardness',
    [(0, 0.1), (2.2, 0.1), (2.5, 0.5), (3.5, 0.5), (4.75, 1.0), (5.5, 1.3), (6, 1.5),
     (99, 1.5)],
)  # fmt: skip
def test_hardness_goes_on_until_another_is_set(epoch, hardness):
    assert Curriculum(STAGES).hardness(epoch) == pytest.approx(hardness)


def test_hardness_that_no_stage_has_set():
    assert Curriculum().hardness(0) is None
    late = Curriculum([dict(epochs=1), dict(epochs=1, hardness=2)])
    assert (late.hardness(0.5), late.hardness(1), late.hardness(9)) == (None, 2, 2)


def test_stages_travel_to_the_workers_as_plain_dicts():
    stage = Curriculum([ConfigDict(STAGES[0])]).stage(0)
    assert type(stage) is dict and type(stage['captions']) is dict
    assert len(pickle.dumps(stage)) < 200


@pytest.mark.parametrize(
    'stages, message',
    [
        ([dict(epoch=3)], "unknown key 'epoch'; did you mean 'epochs'"),
        ([dict(hardness=1), dict(epochs=1)], 'only the last stage may leave out'),
        ([dict(epochs=0)], 'stage 0 of the curriculum: epochs=0 must be above 0'),
        ([dict(epochs='4')], "epochs='4' must be above 0"),
        ([dict(epochs=True)], 'epochs=True must be above 0'),
        ([dict(captions=dict(caption=1.0))], "field 'caption' is none of"),
        ([dict(captions=dict(captions=0.0))], 'none is above 0'),
        ([dict(captions={})], 'none is above 0'),
        ([dict(group_size=0)], 'group_size=0 is no number of clips'),
        ([dict(group_size=2.5)], 'group_size=2.5 is no number of clips'),
        ([dict(streams=('A', 'T'))], "streams names 'T'; streams are AV, A, V"),
        ([dict(weights=dict(lm_head=1.0))], 'weights need streams'),
        (
            [dict(streams=('A',), weights=dict(lm_head=-1))],
            'weight of lm_head=-1 must not be negative',
        ),
        ([dict(hardness=-1)], 'hardness=-1 is neither'),
        ([dict(hardness=[(1, 0.1), (1, 2)])], 'in order, none negative'),
        ([dict(hardness=[0.1, 2.0])], 'neither a number nor a list of points'),
        ([dict(hardness='hard')], "hardness='hard' is neither"),
        ([dict(hardness=[])], 'neither a number nor a list of points'),
        (['first'], "is a dict, not 'first'"),
    ],
)
def test_what_is_no_stage_is_refused(stages, message):
    with pytest.raises(ConfigError, match=message):
        Curriculum(stages)
