"""Which clips are asked: by folder, date, label and length."""

import os
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from coavt_mm.errors import InputError


@dataclass(frozen=True)
class Filters:
    """What clips must fulfil; what is None, or empty, is not asked for.

    Args:
        folders: They lie below one of these.
        labels: They have all of these.
        after, before: Their file was changed on this day or later, earlier: date,
            datetime, or text such as 2026-05-31.
        longer, shorter: They last at least, at most so many seconds.
    """

    folders: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    after: date | str | None = None
    before: date | str | None = None
    longer: float | None = None
    shorter: float | None = None

    def sql(self) -> tuple[list[str], list[Any]]:
        """Conditions on the catalogue's clips, and their values.

        Raises:
            InputError: A date is none.
        """
        parts: list[str] = []
        values: list[Any] = []
        if self.folders:
            below = 'clips.path = ? OR (clips.path >= ? AND clips.path < ?)'
            parts.append('(' + ' OR '.join([below] * len(self.folders)) + ')')
            for folder in self.folders:
                name = os.fsencode(os.path.abspath(os.path.expanduser(folder)))
                inner = name.rstrip(b'/')
                values += [name, inner + b'/', inner + b'0']
        for label in self.labels:
            parts.append('clips.id IN (SELECT clip FROM labels WHERE label = ?)')
            values.append(label)
        for given, sign, column in (
            (_nanoseconds(self.after), '>=', 'changed'),
            (_nanoseconds(self.before), '<', 'changed'),
            (self.longer, '>=', 'seconds'),
            (self.shorter, '<=', 'seconds'),
        ):
            if given is not None:
                parts.append(f'clips.{column} {sign} ?')
                values.append(given)
        return parts, values


def _nanoseconds(day: date | str | None) -> int | None:
    """Since 1970, of the begin of a day in local time."""
    if day is None:
        return None
    if isinstance(day, str):
        try:
            day = datetime.fromisoformat(day)
        except ValueError as error:
            raise InputError(
                f'{day!r} is no date; write it as 2026-05-31, or 2026-05-31T18:00'
            ) from error
    elif not isinstance(day, datetime):
        day = datetime(day.year, day.month, day.day)
    seconds = (day.astimezone() - datetime.fromtimestamp(0).astimezone()) / timedelta(
        seconds=1
    )
    return round(seconds * 1e9)
