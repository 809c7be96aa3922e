"""When in a clip: neighbouring windows that answer become one span.

Letter: n windows of a clip.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from coavt_mm.search.asking import Scored, Searcher

SAMPLE = 400  # windows that tell what a window is worth that has nothing to do with it
# Of the way from there to the best window, so much makes an answer: a window that half
# of the moment lies in has about half of it.
SHARE = 0.5
SHORTEST = 0.5  # of the way from one window to the next


def find_moments(
    starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, background: float
) -> list[tuple[float, float, float]]:
    """Merge neighbouring windows whose scores lie above half height.

    The score runs as a line from the middle of a window to that of the next one; where
    it crosses half height between background and the clip's best window, a moment
    begins or ends. At the first and last window, and beside a gap, it reaches to the
    window's own end. None is shorter than half the way from one window to the next.

    Args:
        starts: (n,) in s, ascending.
        ends: (n,) in s.
        scores: (n,).
        background: Of a window that doesn't answer.

    Returns:
        (start, end, score of the best window), the best moment first.
    """
    level = background + SHARE * (scores.max() - background)
    if level >= scores.max():  # nothing stands out
        level = scores.max()
    high = scores >= level
    begins = np.flatnonzero(high & ~np.append(False, high[:-1] & ~_gaps(starts, ends)))
    found = []
    gap = _gaps(starts, ends)
    least = SHORTEST * float(np.diff(starts).min(initial=ends[0] - starts[0]))
    for first in begins.tolist():
        last = first
        while last + 1 < len(scores) and high[last + 1] and not gap[last]:
            last += 1
        start = _crossing(starts, ends, scores, level, first, -1)
        end = _crossing(starts, ends, scores, level, last, 1)
        # a window that is barely above would be no span at all
        short = max(0.0, least - (end - start)) / 2
        best = float(scores[first : last + 1].max())
        found.append((start - short, end + short, best))
    return sorted(found, key=lambda moment: -moment[2])


def _gaps(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether time is left out behind each window but the last (n - 1,)."""
    return starts[1:] > ends[:-1] + 1e-3


def _crossing(
    starts: np.ndarray,
    ends: np.ndarray,
    scores: np.ndarray,
    level: float,
    at: int,
    step: int,
) -> float:
    """Where the line from a window to the one before or behind crosses the level."""
    own = float(starts[at] if step < 0 else ends[at])
    other = at + step
    if not 0 <= other < len(scores) or _gaps(starts, ends)[min(at, other)]:
        return own
    here, there = (starts[at] + ends[at]) / 2, (starts[other] + ends[other]) / 2
    fall = scores[at] - scores[other]
    share = (scores[at] - level) / fall if fall > 0 else 0.5
    return float(here + (there - here) * min(max(share, 0.0), 1.0))


def moments_of(searcher: 'Searcher', windows: 'list[Scored]') -> list[dict]:
    """The moments of the best clips, best first.

    Args:
        searcher: With the question.
        windows: The best of each clip, best first.
    """
    usual = [window.similarity for window in searcher.drawn(SAMPLE)]
    background = float(np.median(usual or [0.0]))
    found = []
    for best in windows:
        scored = searcher.windows_of(best.clip)
        length = searcher.index.settings['seconds']
        starts = np.array([window.start for window in scored])
        ends = np.array([
            window.start + length if window.end is None else window.end
            for window in scored
        ])  # fmt: skip
        scores = np.array([window.similarity for window in scored])
        for start, end, score in find_moments(starts, ends, scores, background):
            peak = next(w for w in scored if w.similarity == score)
            hit = dict(searcher.hit(peak), start=start, end=end)
            hit['line'] = [[w.start, w.similarity] for w in scored]
            found.append(hit)
    return sorted(found, key=lambda hit: -hit['similarity'])
