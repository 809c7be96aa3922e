"""What ``coavt search`` shows: progress, hits, and what is in an index."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coavt_mm.search.scanning import Plan

BAR = 40  # letters of a time line
LEVELS = ' ▁▂▃▄▅▆▇█'
MOST = 20  # labels, and errors
SECONDS = 10  # from one line to the next where there is no terminal


class Progress:
    """Clips so far, and the time that is left: a bar, or a line now and then."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.said = 0.0

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def begin(self, plan: 'Plan') -> None:
        """Say what has to be done.

        Args:
            plan: That.
        """
        from tqdm import tqdm

        total = len(plan.embed)
        print(
            f'{total - plan.changed:,} new, {plan.changed:,} changed, '
            f'{len(plan.moved):,} moved, {len(plan.gone):,} gone, '
            f'{plan.unchanged:,} unchanged',
            flush=True,
        )
        is_shown = sys.stderr.isatty()
        self.bar = tqdm(
            total=total, desc='Indexing', unit='clip', disable=total == 0,
            file=sys.stderr if is_shown else _Nowhere(), dynamic_ncols=is_shown,
        )  # fmt: skip
        self.is_shown, self.said = is_shown, time.monotonic()

    def __call__(self, answer: dict) -> None:
        """A clip is done.

        Args:
            answer: What the model gave for it.
        """
        self.bar.update()
        if not self.is_shown and time.monotonic() - self.said > SECONDS:
            self.said = time.monotonic()
            print(self.bar, file=sys.stderr, flush=True)


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, text: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Do nothing."""


def hit_lines(found: dict) -> Iterator[str]:
    """A table of hits, and for moments the time line of each.

    Args:
        found: From :func:`coavt_mm.search.asking.ask`.
    """
    yield found['query']
    if not found['hits']:
        yield '  nothing found'
        return
    has_logits = any('match_logit' in hit for hit in found['hits'])
    rows = [_cells(hit, has_logits) for hit in found['hits']]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells, hit in zip(rows, found['hits'], strict=True):
        padded = [c.rjust(w) for c, w in zip(cells, widths, strict=True)]
        name = hit['clip'] + (f' ({hit["name"]})' if 'name' in hit else '')
        error = f'  not re-ranked: {hit["error"]}' if 'error' in hit else ''
        yield f'  {"  ".join(padded)}  {name}{error}'
        if 'line' in hit:
            yield f'  {" " * (sum(widths) + 2 * len(widths) - 2)}  {_line(hit)}'


def _cells(hit: dict, has_logits: bool) -> list[str]:
    end = '' if hit['end'] is None else clock(hit['end'])
    logit = f'{hit["match_logit"]:+.2f}' if 'match_logit' in hit else ''
    return [
        f'{hit["rank"]}.',
        f'{hit["similarity"]:.3f}',
        *([logit] if has_logits else []),
        hit['stream'],
        f'{clock(hit["start"])}-{end}',
    ]


def clock(seconds: float) -> str:
    """A time as players show it, such as 1:02:03.4.

    Args:
        seconds: In s.
    """
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minutes:02d}:{rest / 10:04.1f}'
    return f'{minutes}:{rest / 10:04.1f}'


def _line(hit: dict) -> str:
    """The scores of a clip's windows from its begin to its end."""
    starts, scores = zip(*hit['line'], strict=True)
    low, high = min(scores), max(scores)
    count = min(BAR, len(scores))
    letters = []
    for i in range(count):
        part = scores[i * len(scores) // count : (i + 1) * len(scores) // count]
        share = (max(part) - low) / (high - low) if high > low else 1.0
        letters.append(LEVELS[round(share * (len(LEVELS) - 1))])
    return f'{clock(starts[0])} |{"".join(letters)}| {clock(starts[-1])}'


def info_lines(name: str, info: dict) -> Iterator[str]:
    """What is in an index, for a person.

    Args:
        name: Of the index.
        info: From :meth:`coavt_mm.search.Index.info`.
    """
    settings, last = info['settings'], info['last']
    streams = ', '.join(f'{s} {n:,}' for s, n in info['vectors'].items())
    window = f'{settings["seconds"]:g} s, every {settings["hop"]:g} s'
    labels = list(info['labels'].items())
    rows = {
        'clips': f'{info["clips"]:,} ({info["seconds"] / 3600:.2f} h), '
        f'{info["failed"]:,} failed, {info["removed"]:,} removed',
        'windows': f'{info["windows"]:,} of {window}',
        'vectors': f'{streams}, {settings["width"]} wide; {info["dead"]:,} dead',
        'store': f'{settings["store"]}; {info["bytes"] / 1e6:.1f} MB in the folder',
        'model': settings['checkpoint'] or settings['model'][:12],
        'places': ', '.join(f'{p} ({n:,})' for p, n in info['places'].items()),
        'labels': ', '.join(f'{k} ({n:,})' for k, n in labels[:MOST]),
        'last': last and _last(last),
    }
    yield name
    for key, text in rows.items():
        if text:
            yield f'  {key:<8} {text}'
    errors = list(info['errors'].values())
    for why in errors[:MOST]:
        yield f'  failed   {why}'
    if more := errors[MOST:]:
        yield f'  failed   {len(more):,} more; --json has all'


def _last(last: dict) -> str:
    ended = '' if last['finished'] else ', was cut off: `coavt search add` goes on'
    done = f'{last["clips"]:,} clips, {last["windows"]:,} windows'
    return f'{last["action"]}, {last["begun"]}: {done}{ended}'
