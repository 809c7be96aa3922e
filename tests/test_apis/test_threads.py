"""One model asked by many threads."""

import pytest
from concurrent_calls import ask, at_once, drawn_calls, same


@pytest.mark.filterwarnings('ignore')
def test_answers_are_those_of_one_by_one(coavt, make_clip):
    clips = [
        str(make_clip(seconds=0.5)),
        str(make_clip(seconds=0.5, sound=False)),
        str(make_clip(seconds=0.5, picture=False)),
    ]
    calls = drawn_calls(20, clips)
    alone = [ask(coavt, call) for call in calls]
    assert any(isinstance(answer, str) for answer in alone)  # some can't be answered
    together = at_once(coavt, calls, threads=8)
    wrong = [i for i, pair in enumerate(zip(alone, together, strict=True))
             if not same(*pair)]  # fmt: skip
    assert not wrong
