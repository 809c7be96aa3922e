"""The page of a clip as HTML. Whatever comes from an index is escaped here."""

import base64
from collections.abc import Sequence

from coavt_mm.app.cards import (
    clock,
    glimpse,
    opener,
    player,
    text,
    time_line,
    title,
)

NOTHING = '<p class="told">Open a clip: from the hits of a search, or from the map.</p>'


def clip_head(clip: dict, start: float) -> str:
    """Player, time line, labels, place.

    Args:
        clip: From :func:`coavt_mm.app.looking.facts`.
        start: The moment, in s.
    """
    end = max(start, min(start + clip['window'], clip.get('seconds') or start))
    media = player(clip, start, end)
    chips = ''.join(f'<li>{text(label)}</li>' for label in clip['labels'])
    labels = f'<ul class="chips" aria-label="labels">{chips}</ul>' if chips else ''
    length = f'<span>{clock(clip["seconds"])}</span>' if clip.get('seconds') else ''
    from_here = (
        f'<button type="button" class="play" data-play="{start:.2f}">▶ from '
        f'{clock(start)}</button>'
    )
    return (
        f'<section class="clip"><div class="media">{media}</div>'
        f'<div class="about"><h2 tabindex="-1">{text(title(clip))}</h2>'
        f'<p class="when">{from_here}{length}</p>{time_line(clip, None, None)}{labels}'
        f'<p class="path">{text(clip["place"])}</p></div></section>'
    )


def says(captions: Sequence[dict], texts: Sequence[tuple[str, float]]) -> str:
    """What the model writes of a clip, and the texts that fit it best.

    Args:
        captions: With ``text``, ``start``, ``end``.
        texts: With their scores.
    """
    found = ''
    if captions:
        rows = ''.join(_caption(caption, len(captions) > 1) for caption in captions)
        found = f'<h3>The model writes</h3><ul class="captions">{rows}</ul>'
    if texts:
        highest = max(max(score for _, score in texts), 1e-9)
        rows = ''.join(
            f'<dt>{text(words)}</dt><dd><span class="bar AV" style="--share:'
            f'{max(score, 0.0) / highest:.2f}"></span>'
            f'<span class="number">{score:.2f}</span></dd>'
            for words, score in texts
        )
        found += f'<h3>Nearest texts</h3><dl class="texts">{rows}</dl>'
    return f'<section class="says">{found}</section>' if found else ''


def _caption(caption: dict, many: bool) -> str:
    start = caption['start'] or 0.0
    when = (
        f'<button type="button" class="play" data-play="{start:.2f}">'
        f'▶ {clock(start)}</button> '
        if many
        else ''
    )
    return f'<li>{when}{text(caption["text"])}</li>'


def drawn(picture: bytes, clip: dict) -> str:
    """What the model sees and hears.

    Args:
        picture: A PNG.
        clip: The clip.
    """
    code = base64.b64encode(picture).decode()
    about = text(
        f'{title(clip)}: frames, spectrogram, where the queries look, and texts'
    )
    return (
        '<section><h3>What the model sees and hears</h3><div class="drawn" '
        f'tabindex="0"><img src="data:image/png;base64,{code}" alt="{about}"></div>'
        '</section>'
    )


def neighbours(hits: Sequence[dict]) -> str:
    """The nearest clips, smaller than hits.

    Args:
        hits: From :func:`coavt_mm.app.looking.near`.
    """
    if not hits:
        return ''
    body = ''.join(map(_small, hits))
    return f'<section><h3>Nearest clips</h3><div class="hits">{body}</div></section>'


def _small(hit: dict) -> str:
    start, end = hit['start'] or 0.0, hit['end'] or hit.get('seconds') or 0.0
    look = (start + end) / 2 if end > start else start
    return (
        f'<article class="hit small"><div class="media" data-open="{int(hit["id"])}" '
        f'data-start="{start:.2f}">{glimpse(hit, look)}</div>'
        f'<div class="about"><h4>{opener(hit, start)}</h4></div></article>'
    )
