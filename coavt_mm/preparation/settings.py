"""What clips are checked for, and what shards are made with; nothing heavy is imported
here.
"""

from dataclasses import dataclass, field

from coavt_mm.errors import ConfigError

# Problems of a clip. The first three leave nothing to train on.
UNUSABLE = ('missing', 'unreadable', 'too_short')
PROBLEMS = (*UNUSABLE, 'silent', 'no_sound', 'no_picture', 'duplicate')
# What a model says that compares sound with picture, if one is asked.
OTHER_SOUND, SHIFTED_SOUND = SOUNDS = ('other_sound', 'shifted_sound')


@dataclass(frozen=True)
class Settings:
    """What a shard is made with.

    Args:
        num_frames: Frames of a clip, at the centres of equal parts.
        short_side: Frames are scaled down to this short side in pixels.
        quality: Of the JPEGs, 1 to 100.
        codec: Of the sound: 'flac' or 'opus'.
        sample_rate: Of the sound in Hz.
        seconds: At most this much sound is kept, in s; None keeps that of the whole
            clip.
        backend: Decoder of the frames, see ``LoadFrames``.
        timeout: Limit for decoding a clip in s.
    """

    num_frames: int = field(default=10, metadata=dict(help='frames of a clip'))
    short_side: int = field(default=320, metadata=dict(help='of the frames, pixels'))
    quality: int = field(default=90, metadata=dict(help='of the JPEGs, 1 to 100'))
    codec: str = field(default='flac', metadata=dict(help='of the sound: flac, opus'))
    sample_rate: int = field(default=16000, metadata=dict(help='of the sound, Hz'))
    seconds: float | None = field(
        default=None, metadata=dict(help='longest sound to keep, s')
    )
    backend: str = field(default='pyav', metadata=dict(help='decoder of the frames'))
    timeout: float = field(default=60.0, metadata=dict(help='limit for a clip, s'))

    def __post_init__(self):
        if self.codec not in ('flac', 'opus'):
            raise ConfigError(f'codec={self.codec!r} is none of flac, opus')
        if self.num_frames < 1 or self.short_side < 1 or not 0 < self.quality <= 100:
            raise ConfigError(
                f'num_frames={self.num_frames}, short_side={self.short_side} and '
                f'quality={self.quality} must be 1 or more, quality at most 100'
            )
        if self.num_frames > 100:
            raise ConfigError(f'num_frames={self.num_frames} is more than 100')
