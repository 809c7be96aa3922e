"""The streams: what of a clip is looked at. Everything that names one reads it here.

CoAVT aligns text with three views of a clip: sound and picture together (AV), sound
alone (A) and picture alone (V). A further stream is a line in each table below.
"""

from collections.abc import Collection
from typing import Any

#: Stream -> the modalities that it is made of, the fullest stream first.
MODALITIES = {'AV': ('audio', 'visual'), 'A': ('audio',), 'V': ('visual',)}
STREAMS = tuple(MODALITIES)
#: The scores of all streams added up, where a metric reports them.
FUSED = '+'.join(STREAMS)
#: Caption field of a manifest -> the stream that its sentences describe.
CAPTION_FIELDS = {'captions': 'AV', 'audio_captions': 'A', 'visual_captions': 'V'}
#: Stream -> colour (of Okabe and Ito), marker and name in plots.
LOOKS = {
    'AV': dict(color='#0072B2', marker='o', label='sound + picture (AV)'),
    'A': dict(color='#D55E00', marker='s', label='sound (A)'),
    'V': dict(color='#009E73', marker='^', label='picture (V)'),
    FUSED: dict(color='#CC79A7', marker='D', label='all three together'),
}


def available(has_audio: Any, has_visual: Any) -> dict[str, Any]:
    """Which streams a clip, or each clip of a batch, has.

    Args:
        has_audio: A bool, or a bool tensor or array of any shape.
        has_visual: Likewise, of the same shape.

    Returns:
        Stream -> whether all of its modalities are there.
    """
    return {'AV': has_audio & has_visual, 'A': has_audio, 'V': has_visual}


def describes(caption_stream: str) -> tuple[bool, ...]:
    """For each of ``STREAMS``, whether such a caption may train and test it.

    What is said about sound and picture holds for each of them alone, not the other way
    round.
    """
    about = MODALITIES[caption_stream]
    return tuple(set(MODALITIES[stream]) <= set(about) for stream in STREAMS)


def has_modality_of(wanted: str, streams: Collection[str]) -> bool:
    """Whether one of ``streams`` has a modality that ``wanted`` is made of."""
    there = {modality for stream in streams for modality in MODALITIES[stream]}
    return not there.isdisjoint(MODALITIES[wanted])
