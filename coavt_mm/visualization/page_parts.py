"""The parts of an HTML page that holds its own pictures and sounds."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from coavt_mm.errors import shown
from coavt_mm.visualization.plots import figure_png
from coavt_mm.visualization.sound_view import brightness, log_mel, mp3

BRIEF = 20  # lines of a list
LONGEST_TEXT = 2000  # letters
LONGEST_TABLE = 1000  # rows
THUMBNAIL = (240, 180)  # pixels, twice what is seen, for dense screens
STRIP = (480, 64)  # pixels of a spectrogram
QUALITY = 80  # of JPEG
CSS_DPI = 96
SMALLEST = 0.7  # of a figure's size, where the screen is narrow
#: nothing is fetched and no script runs, whatever the page is made of
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f6f6; --ink: #222;
  --faint: #666; --line: #d0d0d0; --right: #0072b2; --warn: #8a5a00 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181b; --card: #212429; --ink: #e8e8e8; --faint: #a6a6a6;
    --line: #474b52; --right: #56b4e9; --warn: #e69f00 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25 }
h2 { font-size: 1.25rem; margin-top: 2.5rem }
h3 { font-size: 1rem; margin: 0 } p { margin: 0.2rem 0 }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0;
  list-style: none }
a { color: var(--right) } :focus-visible { outline: 3px solid var(--right);
  outline-offset: 2px }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr;
  gap: 0.3rem 1rem } dt, .faint { color: var(--faint) } dd { margin: 0 }
.warnings { border-left: 4px solid var(--warn); padding: 0.1rem 1rem;
  background: var(--card) } .warnings h2 { margin-top: 0.5rem }
.wide { overflow-x: auto } .plot { max-width: 100%; background: #fff;
  border-radius: 4px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 0.25rem 0.75rem; border-bottom: 1px solid var(--line);
  text-align: left; overflow-wrap: normal } .number { text-align: right }
article { margin: 1.5rem 0 }
.cards { display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)) }
.card { margin: 0; padding: 0.6rem; background: var(--card); border-radius: 6px;
  border: 2px solid var(--line); font-size: 0.9rem }
.right { border-color: var(--right) } .right strong { color: var(--right) }
.frames { display: flex; gap: 3px } .frames img { flex: 1 1 0; min-width: 0;
  object-fit: contain } .written { font-weight: 600 } .written span { font-weight: 400 }
.strip { display: block; width: 100%; height: 3.5rem; margin: 4px 0 }
audio { width: 100%; height: 2.4rem } .name { font-size: 0.8rem }
.missing { padding: 1rem; text-align: center; color: var(--faint);
  border: 1px dashed var(--line) }
pre { overflow-x: auto; padding: 0.75rem; background: var(--card); border-radius: 6px }
"""


def text(value: object) -> str:
    """Escape what is no HTML: marks, control characters, bytes that are no UTF-8."""
    words = shown(str(value))
    if len(words) > LONGEST_TEXT:
        words = words[:LONGEST_TEXT] + ' …'
    return escape(words)


def tag(name: str, inner: str = '', attributes: Mapping[str, str] | None = None) -> str:
    """An element around HTML; the attributes' values are escaped here."""
    return f'<{name}{_pairs(attributes or {})}>{inner}</{name}>\n'


def _pairs(attributes: Mapping[str, str]) -> str:
    return ''.join(f' {k}="{text(v)}"' for k, v in attributes.items() if v)


def section(heading: str, inner: str, kind: str = '') -> tuple[str, str]:
    """A heading and what stands below it, for :func:`whole_page`."""
    return heading, tag('div', tag('h2', text(heading)) + inner, {'class': kind})


def whole_page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A page of sections, with links to them on top.

    Args:
        title: Of the page.
        sections: Of :func:`section`.
    """
    links, body = '', ''
    for i, (heading, inner) in enumerate(sections, 1):
        links += tag('li', tag('a', text(heading), {'href': f'#s{i}'}))
        body += tag('section', inner, {'id': f's{i}'})
    nav = tag('nav', tag('ul', links), {'aria-label': 'Sections'})
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        + tag('title', text(title))
        + tag('style', STYLE)
    )
    main = tag('main', tag('h1', text(title)) + nav + body)
    page = tag('head', head) + tag('body', main)
    return '<!DOCTYPE html>\n' + tag('html', page, {'lang': 'en'})


def definitions(facts: Mapping[str, object]) -> str:
    """A list of names and values."""
    pairs = (tag('dt', text(k)) + tag('dd', text(v)) for k, v in facts.items())
    return tag('dl', ''.join(pairs))


def table(rows: Sequence[Sequence[object]], label: str) -> str:
    """A table that scrolls on narrow screens; numbers stand at the right.

    Args:
        rows: The first holds the names of the columns.
        label: For those who can't see it.
    """
    head, *body = rows
    numbers = [all(_is_number(row[i]) for row in body) for i in range(len(head))]
    kinds = [{'class': 'number' if is_number else ''} for is_number in numbers]
    names = zip(head, kinds, strict=True)
    lines = [[tag('th', text(x), {'scope': 'col', **kind}) for x, kind in names]]
    for row in body[:LONGEST_TABLE]:
        cells = zip(row, kinds, strict=True)
        lines.append([tag('td', text(_cell(x)), kind) for x, kind in cells])
    left_out = len(body) - LONGEST_TABLE
    note = tag('p', f'{left_out} more rows are left out.') if left_out > 0 else ''
    inner = tag('table', ''.join(tag('tr', ''.join(line)) for line in lines))
    return _wide(inner, label) + note


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: object) -> object:
    if value is None:
        return '-'
    return f'{value:.1f}' if isinstance(value, float) else value


def _wide(inner: str, label: str) -> str:
    """A box that scrolls sideways, with the arrow keys too."""
    names = {'class': 'wide', 'tabindex': '0', 'role': 'region', 'aria-label': label}
    return tag('div', inner, names)


def figure_image(figure: Figure | Path, label: str) -> str:
    """A figure, described by the words that are drawn in it, or a png that is there."""
    if isinstance(figure, Path):
        image = _image(figure.read_bytes(), 'png', label, {'class': 'plot'})
        return _wide(image, label)
    words = dict.fromkeys(x.get_text().strip() for x in figure.findobj(Text))
    said = ', '.join(word for word in words if word and not _is_tick(word))
    width = round(CSS_DPI * figure.get_figwidth())
    size = f'width:{width}px;min-width:{round(SMALLEST * width)}px'
    names = {'class': 'plot', 'style': size}
    image = _image(figure_png(figure), 'png', f'{label}: {said}', names)
    return _wide(image, label)


def _is_tick(word: str) -> bool:
    return not any(letter.isalpha() for letter in word)


def frame_image(frame: np.ndarray, alt: str) -> str:
    """A small picture of an (H, W, 3) uint8 RGB frame."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    image.thumbnail(THUMBNAIL)
    return _jpeg(image, alt)


def spectrogram_image(waveform: np.ndarray, rate: int, alt: str) -> str:
    """A strip with time from left to right and high notes on top, of (S,) at Hz."""
    shade = brightness(log_mel(waveform, rate)).T[::-1]
    colors = colormaps['magma'](shade, bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colors)).resize(STRIP)
    return _jpeg(image, alt, {'class': 'strip'})


def player(waveform: np.ndarray, rate: int, label: str) -> str:
    """A player of (S,) samples at a rate in Hz."""
    source = _data(mp3(waveform, rate), 'audio/mpeg')
    names = _pairs({'preload': 'metadata', 'aria-label': label})
    return f'<audio controls{names} src="{source}"></audio>\n'


def _jpeg(image: Image.Image, alt: str, names: Mapping[str, str] | None = None) -> str:
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=QUALITY)
    return _image(file.getvalue(), 'jpeg', alt, names or {})


def _image(content: bytes, kind: str, alt: str, names: Mapping[str, str]) -> str:
    source = _data(content, f'image/{kind}')
    return f'<img{_pairs({**names, "alt": alt})} src="{source}">\n'


def _data(content: bytes, kind: str) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'
