"""Hits and clips as HTML. Whatever comes from an index is escaped here.

Numbers in the HTML's ``data-`` attributes are what ``page.js`` acts on.
"""

import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from mimetypes import guess_type

from coavt_mm.errors import shown
from coavt_mm.streams import STREAMS

NAMES = {'AV': 'sound + picture', 'A': 'sound', 'V': 'picture'}
FOUND_BY = {'A': 'found by sound', 'V': 'found by picture'}
WIDTH, HEIGHT = 300, 36  # of a time line, in its own units


def text(value: object) -> str:
    """Something as it may stand in HTML, also within quotes.

    Args:
        value: A name, of which anybody may be the author; or a number.
    """
    return escape(shown(str(value)), quote=True)


def clock(seconds: float) -> str:
    """A time as people read it: 4.2 s, 3:05, 1:02:03.

    Args:
        seconds: In s.
    """
    if round(seconds, 1) < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(int(seconds + 0.05), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


def player(clip: dict, start: float = 0.0, end: float | None = None) -> str:
    """What plays, or shows, a clip from a moment on.

    Args:
        clip: With ``id``, ``clip``, ``has_sound``, ``has_picture``; ``sound`` where
            that is another file.
        start: In s.
        end: In s; a picture from the middle of the span is shown until it plays.
    """
    look = start if end is None else (start + end) / 2
    address, label = f'clip/{int(clip["id"])}', text(title(clip))
    if is_picture(clip):
        found = f'<img src="{address}" alt="{label}" loading="lazy">'
    elif clip.get('has_picture', True):
        found = _media('video', f'{address}#t={look:.2f}', start, label)
    else:
        note = '<span class="note" aria-hidden="true">♪</span>'
        return note + _media('audio', f'{address}#t={start:.2f}', start, label)
    if clip.get('sound'):
        source = f'{address}/sound#t={start:.2f}'
        found += _media('audio', source, start, f'sound of {label}')
    return found


def is_picture(clip: dict) -> bool:
    """Whether a clip is a still picture.

    Args:
        clip: With ``clip``.
    """
    return (guess_type(clip['clip'])[0] or '').startswith('image/')


def glimpse(clip: dict, start: float = 0.0) -> str:
    """A picture of a clip, which opens its page; for the keyboard there is the name.

    Args:
        clip: As :func:`player` takes it.
        start: The moment, in s.
    """
    address = f'clip/{int(clip["id"])}'
    if is_picture(clip):
        return f'<img src="{address}" alt="" loading="lazy">'
    if not clip.get('has_picture', True):
        return '<span class="note" aria-hidden="true">♪</span>'
    source = f'{address}#t={start:.2f}'
    return (
        f'<video preload="metadata" muted playsinline tabindex="-1" aria-hidden="true" '
        f'src="{source}"></video>'
    )


def _media(tag: str, source: str, start: float, label: str) -> str:
    more = ' playsinline' if tag == 'video' else ''
    return (
        f'<{tag} controls preload="metadata"{more} src="{source}" '
        f'data-start="{start:.2f}" aria-label="{label}"></{tag}>'
    )


def title(clip: dict) -> str:
    """What a clip is called.

    Args:
        clip: With ``clip``, and ``name`` where its manifest has one.
    """
    return clip.get('name') or os.path.basename(clip['clip'])


def opener(clip: dict, start: float = 0.0) -> str:
    """A button with a clip's name, which opens its page.

    Args:
        clip: The clip.
        start: The moment, in s.
    """
    return (
        f'<button type="button" class="open" data-open="{int(clip["id"])}" '
        f'data-start="{start:.2f}" title="{text(title(clip))}">'
        f'{text(title(clip))}</button>'
    )


def score_bars(scores: dict[str, float], used: str, highest: float) -> str:
    """The scores of a clip by stream, as bars.

    Args:
        scores: Stream -> score.
        used: The stream that it was ranked by.
        highest: The score of a whole bar.
    """
    rows = []
    for stream in (s for s in STREAMS if s in scores):
        share = min(max(scores[stream] / max(highest, 1e-9), 0.0), 1.0)
        mark = ' class="used"' if stream == used else ''
        rows.append(
            f'<dt{mark}>{NAMES[stream]}</dt><dd{mark}>'
            f'<span class="bar {stream}" style="--share:{share:.2f}"></span>'
            f'<span class="number">{scores[stream]:.2f}</span></dd>'
        )
    return f'<dl class="scores">{"".join(rows)}</dl>'


def time_line(clip: dict, start: float | None, end: float | None) -> str:
    """The score over a clip's time, and the span that answers; '' for a short clip.

    Args:
        clip: With ``line`` and ``seconds``.
        start: Of the span, in s.
        end: Likewise.
    """
    line: Sequence[Sequence[float]] = clip.get('line') or ()
    if len(line) < 2:
        return ''
    whole = max(clip.get('seconds') or 0.0, line[-1][0] * 1.001, end or 0.0)
    scores = [score for _, score in line]
    low, high = min(scores), max(scores)
    height = max(high - low, 1e-9)
    steps = [
        (WIDTH * at / whole, HEIGHT - 3 - (HEIGHT - 6) * (score - low) / height)
        for at, score in line
    ]
    edges = [*(x for x, _ in steps), WIDTH]
    path = ' '.join(
        f'{x:.1f},{y:.1f} {right:.1f},{y:.1f}'
        for (x, y), right in zip(steps, edges[1:], strict=True)
    )
    band = ''
    if start is not None and end is not None and math.isfinite(end):
        left, wide = WIDTH * start / whole, WIDTH * (end - start) / whole
        band = (
            f'<rect class="span" x="{left:.1f}" width="{wide:.1f}" height="{HEIGHT}"/>'
        )
    return (
        f'<div class="line" data-whole="{whole:.2f}" title="the score over the clip; '
        f'a click plays from there"><svg viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{_line_said(line)}">{band}'
        f'<polyline points="{path}"/></svg><span>0</span><span>{clock(whole)}</span>'
        '</div>'
    )


def _line_said(line: Sequence[Sequence[float]]) -> str:
    best = max(line, key=lambda point: point[1])
    return f'score over time, highest at {clock(best[0])}'


def card(hit: dict, highest: float) -> str:
    """A hit.

    Args:
        hit: From :func:`coavt_mm.app.finding.find`.
        highest: The score of a whole bar.
    """
    start, end = hit['start'] or 0.0, hit['end']
    is_long = len(hit.get('line') or ()) > 1
    stop = end if is_long else hit.get('seconds') or end
    badge = FOUND_BY.get(hit['found_by'], '')
    mark = f'<span class="badge {hit["found_by"]}">{badge}</span>' if badge else ''
    return (
        f'<article class="hit"><div class="media">{player(hit, start, stop)}</div>'
        f'<div class="about"><h3>{opener(hit, start)}</h3>'
        f'<p class="when">{_times(hit, start, end, is_long)}{mark}</p>'
        f'{time_line(hit, start, end)}'
        f'{score_bars(hit["scores"], hit["stream"], highest)}{_match(hit)}</div>'
        '</article>'
    )


def _match(hit: dict) -> str:
    """What re-ranking said, as far as it was asked."""
    if 'error' in hit:
        return f'<p class="told">Not re-ranked: {text(hit["error"])}</p>'
    if 'match_logit' not in hit:
        return ''
    return f'<p class="match">matching <b>{hit["match_logit"]:+.2f}</b></p>'


def _times(hit: dict, start: float, end: float | None, is_long: bool) -> str:
    """A button that plays the moment, and the clip's length."""
    whole = clock(hit['seconds']) if hit.get('seconds') else ''
    if not is_long:
        return f'<span>{whole}</span>' if whole else ''
    span = clock(start) if end is None else f'{clock(start)} – {clock(end)}'
    button = f'<button type="button" class="play" data-play="{start:.2f}">▶ {span}'
    return f'{button}</button>' + (f'<span>of {whole}</span>' if whole else '')


def cards(hits: Iterable[dict], notes: Sequence[str] = (), asked: str = '') -> str:
    """All hits.

    Args:
        hits: Best first.
        notes: What is to be said about the question.
        asked: The question, for a reader of screens.
    """
    hits = list(hits)
    told = ''.join(f'<p class="told">{text(note)}</p>' for note in notes)
    number = (
        'Nothing found'
        if not hits
        else '1 hit'
        if len(hits) == 1
        else f'{len(hits)} hits'
    )
    told = f'<p class="count" role="status">{number}{text(asked)}</p>{told}'
    if not hits:
        return f'{told}<p class="told">Try other words, or fewer filters.</p>'
    highest = max(score for hit in hits for score in hit['scores'].values())
    body = ''.join(card(hit, highest) for hit in hits)
    return f'{told}<div class="hits">{body}</div>'


def complaint(message: object) -> str:
    """What went wrong, in one line.

    Args:
        message: That.
    """
    return f'<p class="complaint" role="alert">{text(message)}</p>'


def heading(info: dict) -> str:
    """What stands on top of the page.

    Args:
        info: From :meth:`coavt_mm.search.Index.info`.
    """
    seconds, number = info['seconds'], info['clips']
    size, unit = (60, 'minutes') if seconds < 3600 else (3600, 'hours')
    length = clock(seconds) if seconds < 60 else f'{seconds / size:,.1f} {unit}'
    clips = f'{number:,} clips' if number != 1 else '1 clip'
    told = f'{clips}, {length}' if number else 'no clip is in this index yet'
    return f'<header class="top"><h1>Search your clips</h1><p>{told}</p></header>'


def start(info: dict) -> str:
    """What stands in the place of hits before anything is asked.

    Args:
        info: From :meth:`coavt_mm.search.Index.info`.
    """
    if info['clips']:
        told = (
            'Say what is seen or heard, and press Enter. A hit plays from its moment; '
            'its name opens what the model makes of it.'
        )
    else:
        failed = f' {info["failed"]:,} could not be read.' if info['failed'] else ''
        told = (
            f'No clip is in this index yet.{failed} Take some in with `coavt search '
            'add`; `coavt search info` says which failed, and why.'
        )
    return f'<p class="told">{told}</p>'
