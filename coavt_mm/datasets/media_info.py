"""What a media file holds, and where in time."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; times in s from its start, None where there is no such stream.

    Args:
        video_start, video_end: Span of the picture; a still picture has no end.
        audio_start, audio_end: Span of the sound.
    """

    video_start: float | None = None
    video_end: float | None = None
    audio_start: float | None = None
    audio_end: float | None = None

    @property
    def has_video(self) -> bool:
        """Whether there is a picture."""
        return self.video_start is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return self.audio_start is not None

    @property
    def is_still(self) -> bool:
        """Whether it is one picture, at any time."""
        return self.video_end == math.inf
