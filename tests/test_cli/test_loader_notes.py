"""What a training says of a loader that is too slow, or has too little room."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement

from coavt_mm.cli import loader_notes, screen
from coavt_mm.cli.loader_notes import room_note, waiting_note

BATCH = dict(  # 1,024 bytes
    inputs=dict(frames=torch.zeros(4, 100, dtype=torch.uint8), words=['a', 'b']),
    data_samples=[
        BaseDataElement(feats=torch.zeros(75)),
        (torch.zeros(81, dtype=torch.int32), None),
    ],
)


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """Sets the size of shared memory."""

    def have(size):
        found = SimpleNamespace(total=size)
        monkeypatch.setattr(loader_notes.shutil, 'disk_usage', lambda _: found)

    monkeypatch.setattr(loader_notes, 'SHARED_MEMORY', str(tmp_path))
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        monkeypatch.delenv(name, raising=False)
    return have


def loader(workers, prefetch=2):
    return SimpleNamespace(num_workers=workers, prefetch_factor=prefetch)


def test_room_for_what_workers_hold(memory, monkeypatch):
    memory(6 * 1024)
    assert room_note(loader(3), BATCH) is None
    note = room_note(loader(4), BATCH)
    assert note.startswith('workers may hold 8 batches, 0.00 GB, and ')
    assert '--ipc=host or --shm-size' in note
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')  # they share it
    assert 'may hold 12 batches' in room_note(loader(3), BATCH)
    assert room_note(loader(0, None), BATCH) is None


def test_docker_has_64_megabytes(memory):
    memory(64 * 2**20)
    batch = [torch.zeros(32, 10 * 16000), torch.zeros(32, 3, 224, 224)]  # 40 MB
    said = room_note(loader(12), batch)
    assert 'may hold 24 batches, 0.95 GB, and ' in said and ' has 0.07 GB' in said


@pytest.mark.parametrize('waited, said', [(0.019, None), (0.03, '30% of the last 5')])
def test_a_loader_that_holds_the_training_up(waited, said):
    hub = MessageHub.get_instance(uuid4().hex)
    assert waiting_note(hub, 5, 1) is None  # nobody timed it
    for seconds in (9.0, *[waited] * 5):  # the first step fills caches
        hub.update_scalar('train/data_time', seconds)
        hub.update_scalar('train/time', max(seconds, 0.1))
    note = waiting_note(hub, 5, 1)
    assert note is None if said is None else note.startswith(said)
    assert note is None or 'more num_workers than 1' in note


def test_a_training_says_it(monkeypatch):
    monkeypatch.setattr(screen, 'room_note', lambda *given: 'no room')
    monkeypatch.setattr(screen, 'waiting_note', lambda *given: f'waits {given[1:]}')
    said = []
    runner = SimpleNamespace(
        iter=50,
        max_iters=1000,
        train_dataloader=SimpleNamespace(num_workers=3),
        message_hub=None,
        logger=SimpleNamespace(warning=said.append, info=lambda text: None),
    )
    hook = screen.TrainScreen()
    hook._begin, hook._since = 50, None
    for runner.iter in range(50, 300):
        hook.before_train_iter(runner, 0, BATCH)
    assert said == ['no room', 'waits (100, 3)']
