"""Batches without negatives are said, counted, and refused in a row."""

from types import SimpleNamespace

import pytest
import torch

from coavt_mm.engine import NegativesHook
from coavt_mm.errors import ConfigError


class Iterations:
    """Feeds a hook with the share of clips that have negatives, batch by batch."""

    def __init__(self):
        self.hook, self.iter, self.lines = NegativesHook(), 0, []
        self.logger = SimpleNamespace(warning=self.lines.append)

    def see(self, *shares):
        for share in shares:
            outputs = dict(negatives=torch.tensor(share))
            self.hook.after_train_iter(self, 0, outputs=outputs)
            self.iter += 1


def test_batches_without_negatives_are_said_once_and_counted():
    run = Iterations()
    run.see(1.0, 0.0, 0.5, 0.0, 0.0)
    (line,) = run.lines
    assert 'iteration 1 has no two clips to tell apart' in line
    run.hook.after_train(run)
    assert run.lines[1].startswith('3 batches of this run')
    quiet = Iterations()
    quiet.see(*[0.01] * 20)
    quiet.hook.after_train_iter(quiet, 0, outputs=dict(loss=torch.tensor(0.0)))
    quiet.hook.after_train(quiet)
    assert not quiet.lines


def test_ten_batches_without_negatives_in_a_row_stop_the_run():
    run = Iterations()
    run.see(*[0.0] * 9, 0.1, *[0.0] * 9)
    with pytest.raises(ConfigError, match='last 10 batches had no two clips'):
        run.see(0.0)
