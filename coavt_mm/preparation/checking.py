"""What is the matter with a clip's files?"""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from coavt_mm.datasets.decoding import READING, read_audio, read_frames
from coavt_mm.datasets.manifest import content_hash
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.media_info import MediaInfo
from coavt_mm.datasets.opening import with_time_limit
from coavt_mm.datasets.sound import peak_dbfs
from coavt_mm.errors import ClipError

# A file named by the id alone that is this much (s) longer than the span asked for is
# the whole recording and not the clip cut out of it.
CUT_TOLERANCE = 2.0

# Where the frame is read that proves the picture good: share of the span. The last
# of ten frames, of which training draws one, lies there.
LAST_FRAME = 0.95


def _stamp(path: str | None) -> tuple[int, int] | None:
    """Size (bytes) and time of change (ns); None for a link that leads nowhere."""
    if path is None or not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Task:
    """A clip to check.

    Args:
        clip, audio: The files.
        cut: Whether the files hold the span alone; None: they do when they are not
            longer.
        start, end: The span asked for, in s.
        min_seconds: What is shorter is too short.
        silence_dbfs: A peak below this level (dB of full scale) is silence.
        decode: Whether to decode, or to read the headers alone.
        timeout: Limit for one step of decoding in s.
    """

    clip: str | None
    audio: str | None
    cut: bool | None = None
    start: float | None = None
    end: float | None = None
    min_seconds: float = 1.0
    silence_dbfs: float = -60.0
    decode: bool = True
    timeout: float = 60.0

    def key(self) -> str:
        """Change when a file or a setting does; a journal knows a clip by it."""
        stamps = (_stamp(path) for path in (self.clip, self.audio))
        return repr((*asdict(self).values(), *stamps, READING))


def _span(task: Task, seconds: float) -> tuple[float, float | None]:
    """Start and end (s) within the file; the whole file for one that was cut out."""
    if task.start is None:
        return 0.0, None
    length = task.end and task.end - task.start
    fits = length and seconds <= length + CUT_TOLERANCE
    if task.cut:  # its name tells the start; it may go on behind the end
        return 0.0, None if fits else length
    if task.cut is None and fits:
        return 0.0, None
    return task.start, task.end


def _inspect(path: str, task: Task) -> MediaInfo:
    return with_time_limit(lambda: probe(path), task.timeout, path)


def _problem_of_sound(
    task: Task, path: str, start: float, end: float | None
) -> str | None:
    """The sound is decoded as a whole: a track may break off anywhere."""
    if not task.decode:
        return None
    waveform = read_audio(path, start, end, timeout=task.timeout)
    if waveform is None:
        return 'no_sound'
    return 'silent' if peak_dbfs(waveform) < task.silence_dbfs else None


def _check(task: Task) -> dict:
    shown = _inspect(task.clip, task) if task.clip else MediaInfo()
    heard = _inspect(task.audio, task) if task.audio else shown
    ends = (shown.video_end, heard.audio_end)
    seconds = max((e for e in ends if e is not None and e < math.inf), default=0.0)
    known = seconds > 0  # a still picture has no length to be short of
    start, end = _span(task, seconds)
    problems: list[str] = []
    result = dict(start=start, end=end, seconds=round(seconds, 3), problems=problems)
    if not (shown.has_video or heard.has_audio):
        raise ClipError('neither sound nor picture')
    there = min(seconds, end or math.inf) - start
    if known and there < task.min_seconds:
        return dict(result, problems=['too_short'], reason=f'{max(there, 0):.2f} s')
    begin = max(start, shown.video_start or 0.0)
    stop = min(shown.video_end or 0.0, end or math.inf)
    if stop <= begin:
        problems.append('no_picture')
    elif task.clip and task.decode:
        time = begin if shown.is_still else begin + LAST_FRAME * (stop - begin)
        read_frames(task.clip, [time], timeout=task.timeout)
    path = task.audio or task.clip
    sound: str | None = 'no_sound'
    if path and heard.has_audio:
        sound = _problem_of_sound(task, path, start, end)
    if sound:
        problems.append(sound)
    if {'no_sound', 'no_picture'} <= set(problems):
        raise ClipError('neither sound nor picture within the span')
    return result


def check_clip(task: Task) -> dict:
    """Looks at a clip's files.

    Args:
        task: Files, span and settings.

    Returns:
        ``problems`` (names of ``PROBLEMS``), ``start`` and ``end`` (s) of the clip
        within its file, ``seconds`` (length of the file), ``hash`` of the content, and
        ``reason`` where there is one to give.
    """
    files = [Path(path) for path in (task.clip, task.audio) if path]
    try:
        result = _check(task)
        sizes = [str(path.stat().st_size) for path in files]
        hashes = [content_hash(path) for path in files]
    except (ClipError, OSError) as error:
        return dict(problems=['unreadable'], reason=str(error))
    return dict(result, hash='-'.join(sizes + hashes))
