"""What the docstrings of the transforms promise is what the transforms do."""

import re

import numpy as np
import pytest

from coavt_mm import openmmlab
from coavt_mm.datasets import transforms


class Recorder(dict):
    """A dict that remembers which of its given keys were read, and which written."""

    def __init__(self, content):
        super().__init__(content)
        self.given, self.read = set(content), set()
        self.snapshot = dict(content)

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key):
        self.read.add(key)
        return super().__contains__(key)

    @property
    def added(self):
        return set(self) - self.given

    @property
    def modified(self):
        return {k for k in self.given if super(Recorder, self).get(k, ...) is not
                self.snapshot[k]}  # fmt: skip


def promised(transform, title):
    """Keys under a title of the docstring: (always, sometimes)."""
    found = re.search(rf'{title} Keys:\n\n((?: +- .*\n)+)', type(transform).__doc__)
    entries = re.findall(r'- (\w+)( \(.*\))?', found.group(1)) if found else []
    always = {key for key, condition in entries if not condition}
    return always, {key for key, _ in entries}


@pytest.fixture
def content(clip):
    return dict(
        sample_id='x',
        sample_idx=0,
        clip_path=str(clip),
        filename=str(clip),
        audio_path=str(clip),
        start=0.0,
        end=None,
        captions=['a dog'],
        audio_captions=['a bark'],
        visual_captions=['fur'],
        labels=['dog'],
        texts=['a dog'],
        text_streams=['AV'],
        has_audio=True,
        has_visual=True,
        imgs=[np.zeros((4, 4, 3), np.uint8)],
        waveform=np.zeros(9, np.float32),
        input_ids=[np.array([2, 3])],
        gt_label=[1],
        audio_samples=9,
        sample_rate=16000,
        frame_times=[0.0],
        error='broken',
    )


# those for configs of other packages
OTHERS = ('LoadLogMel',)

CASES = {
    'LoadFrames': [{}, dict(clip_path=None)],
    'IfVisual': [{}],
    'Resize': [{}],
    'CenterCrop': [{}],
    'JPEG': [{}],
    'LoadAudio': [{}, dict(audio_path=None)],
    'LoadLogMel': [{}, dict(audio_path=None)],
    'PickCaption': [{}, dict(captions=[]), dict(captions=[], audio_captions=[])],
    'AllCaptions': [{}, dict(captions=[])],
    'TokenizeText': [{}],
    'PackAVTInputs': [
        {}, dict(has_visual=False, has_audio=False),
        dict(has_visual=False, has_audio=False, clip_path=None),
    ],
}  # fmt: skip
FIELDS = dict(captions=1.0, audio_captions=1.0, visual_captions=1.0)
OPTIONS = {
    'IfVisual': dict(transforms=[]),
    'Resize': dict(scale=(-1, 2)),
    'CenterCrop': dict(crop_size=2),
    'PickCaption': dict(fields=FIELDS, templates=['a {}']),
    'AllCaptions': dict(fields=list(FIELDS), templates=['a {}']),
    'LoadAudio': dict(seconds=1.0),
    'LoadLogMel': dict(preprocessor=dict(spec_frames=64), seconds=0.5),
}


def test_every_transform_is_a_case():
    assert set(CASES) == {*transforms.__all__, *OTHERS}


@pytest.mark.parametrize('name', CASES)
def test_docstring(name, content, vocabulary):
    options = OPTIONS.get(name, {})
    if name == 'TokenizeText':
        options = dict(tokenizer=str(vocabulary))
    transform = getattr(openmmlab if name in OTHERS else transforms, name)(**options)
    needed, readable = promised(transform, 'Required')
    always, sometimes = promised(transform, 'Added')
    _, modifiable = promised(transform, 'Modified')
    given = {key: value for key, value in content.items() if key not in sometimes}
    for changes in CASES[name]:
        recorder = Recorder({**given, **changes})
        transform(recorder)
        assert recorder.read & set(given) <= readable
        assert always <= recorder.added <= sometimes
        assert recorder.modified <= modifiable
    if 'Caption' in name:  # labels are asked for where there are no captions
        given.update(captions=[], audio_captions=[], visual_captions=[])
    for key in needed - {'sample_id'}:  # the id is for error messages only
        with pytest.raises(KeyError):
            transform(Recorder({k: v for k, v in given.items() if k != key}))
