"""What a checkpoint holds, and its copies."""

from collections import OrderedDict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from coavt_mm.engine.running import build_runner
from coavt_mm.engine.snapshots import HostCopies, collect


def test_what_mmengine_saves(toy_cfg, tmp_path):
    runner = build_runner(toy_cfg(train_cfg__max_iters=2))
    runner.train()
    meta = dict(epoch=0, iter=2)
    runner.save_checkpoint(str(tmp_path), 'plain.pth', meta={**meta})
    plain = torch.load(tmp_path / 'plain.pth', weights_only=False)
    own = collect(runner, {**meta})
    assert [*own] == [*plain]
    assert own['meta'] == {**plain['meta'], 'time': own['meta']['time']}
    assert repr(own['optimizer']) == repr(plain['optimizer'])
    assert own['param_schedulers'] == plain['param_schedulers']
    for part in ('state_dict', 'ema_state_dict'):
        assert [*own[part]] == [*plain[part]]
        assert all(torch.equal(own[part][k], v) for k, v in plain[part].items())
    for part in ('runtime_info', 'resumed_keys'):
        assert own['message_hub'][part] == plain['message_hub'][part]
    few = collect(runner, {**meta}, save_optimizer=False, save_param_scheduler=False)
    assert [*few] == ['meta', 'state_dict', 'message_hub', 'ema_state_dict']


def content():
    weight = torch.arange(12.0).view(3, 4)
    state = OrderedDict(
        weight=weight, tied=weight.detach(), row=weight[1], empty=torch.zeros(0)
    )
    state._metadata = {'': dict(version=1)}
    moments = {0: dict(step=torch.tensor(3.0), exp_avg=weight.t().to(torch.bfloat16))}
    return dict(
        state_dict=state,
        optimizer=dict(state=moments, param_groups=[dict(lr=0.1, betas=(0.9, 0.9))]),
        param_schedulers=[dict(base_values=[0.1], last_step=3)],
        history=HistoryBuffer([1.0], [1]),
    )  # fmt: skip


def test_a_copy_keeps_what_training_changes(tmp_path):
    copies = HostCopies()
    for _ in range(2):  # into new memory, and into that of the first
        own = content()
        torch.save(own, tmp_path / 'own.pth')
        taken = copies.take(own)
        with torch.no_grad():
            own['state_dict']['weight'].fill_(9)
            own['optimizer']['state'][0]['exp_avg'].fill_(9)
        own['param_schedulers'][0]['base_values'][0] = 9
        own['history'].update(9)
        torch.save(taken, tmp_path / 'new.pth')
        read = torch.load(tmp_path / 'own.pth', weights_only=False)
        again = torch.load(tmp_path / 'new.pth', weights_only=False)
        history = [again.pop('history').data, read.pop('history').data]
        np.testing.assert_equal(*history)
        assert repr(again) == repr(read)
        assert again['state_dict']._metadata == read['state_dict']._metadata
        size = [(tmp_path / f'{name}.pth').stat().st_size for name in ('own', 'new')]
        assert size[0] == size[1]  # shared memory is written once


def test_copies_use_the_same_memory():
    copies, own = HostCopies(), content()
    places = [copies.take(own)['state_dict']['weight'].data_ptr() for _ in range(3)]
    assert len({*places}) == 1
    own['state_dict']['weight'] = torch.zeros(5, 5)
    assert copies.take(own)['state_dict']['weight'].shape == (5, 5)
