"""The program of ``make soak``, with few kills."""

import sys
from random import Random

import numpy as np
import pytest
import soak
import torch


@pytest.mark.slow
def test_a_killed_run_reaches_the_undisturbed_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(soak, 'ITERATIONS', 10)
    monkeypatch.setattr(soak, 'MOMENTS', ('save', 'step'))
    args = ['soak.py', '--kills', '2', '--kinds', 'shards', '--folder', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', args)
    assert soak.main() == 0
    assert 'values equal to the bit' in capsys.readouterr().out


def test_a_difference_is_found():
    one = dict(a=torch.ones(2), b=np.ones(2), c=0.1, d='x')
    assert soak.differences(one, dict(one)) == []
    for name, value in dict(
        a=torch.tensor([1, 1 + 1e-7]), b=np.array([1, 2]), c=0.1 + 1e-16, d='y'
    ).items():
        same = value == one[name] if name == 'c' else False
        assert soak.differences(one, {**one, name: value}) == [name] * (not same)
    assert soak.differences(one, {**one, 'e': 1}) == ['e']
    assert Random('raw 0').random() == Random('raw 0').random()
