"""The rows of the benchmark's table."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coavt_mm.errors import CoAVTError

COLUMNS = (
    'section', 'what', 'precision', 'batch', 'ms', 'quartiles', 'clips/s', 'peak GiB',
    'TFLOP/s', 'of matrix rate', 'note',
)  # fmt: skip


@dataclass
class Row:
    """A measurement, or what was found.

    Attributes:
        section: Where it belongs.
        what: What was measured.
        precision: float32, tf32, bf16 or fp16; empty where it says nothing.
        batch: Clips.
        ms: Median time in ms.
        quartiles: First and third quartile of that time.
        clips_per_s: Clips per second.
        peak_gib: Peak memory: of a GPU what torch allocated, else what the process
            held.
        tflops: Arithmetic done per second, in TFLOP/s.
        share: Of the measured rate of a large matrix product in that precision.
        note: Anything else.
        failed: Whether the section failed here.
    """

    section: str
    what: str
    precision: str = ''
    batch: int | None = None
    ms: float | None = None
    quartiles: tuple[float, float] | None = None
    clips_per_s: float | None = None
    peak_gib: float | None = None
    tflops: float | None = None
    share: float | None = None
    note: str = ''
    failed: bool = False

    def line(self) -> str:
        """The row in Markdown."""
        low_high = '-'.join(f'{x:.4g}' for x in self.quartiles or ())
        cells = (
            self.section, self.what, self.precision, _number(self.batch),
            _number(self.ms), low_high, _number(self.clips_per_s),
            _number(self.peak_gib), _number(self.tflops),
            '' if self.share is None else f'{100 * self.share:.1f} %',
            self.note.replace('|', '/'),
        )  # fmt: skip
        return f'| {" | ".join(cells)} |'


def failure(
    section: str,
    what: str,
    error: BaseException,
    precision: str = '',
    batch: int | None = None,
) -> Row:
    """Make a row of an error; where it is no fault of the user's, say where it arose.

    Args:
        section: Where it belongs.
        what: What failed.
        error: The error.
        precision: In which it failed.
        batch: Clips.
    """
    text = f'{" ".join(str(error).split()):.300}'
    if not isinstance(error, CoAVTError):
        traceback.print_exception(error)
        text = f'{type(error).__name__}: {text}'
    return Row(section, what, precision, batch, note=text, failed=True)


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.4g}'


def markdown(about: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The table, under what was measured where.

    Args:
        about: Name -> value.
        rows: The rows.
    """
    said = [f'{name}: {value}' for name, value in about.items() if value is not None]
    head = [f'| {" | ".join(COLUMNS)} |', '|' + '---|' * len(COLUMNS)]
    return '\n'.join([*said, '', *head, *(row.line() for row in rows)])
