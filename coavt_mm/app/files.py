"""Clips for the players: by their number in the index, never by a path."""

import os
import re
from collections.abc import Iterator
from mimetypes import guess_type
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from coavt_mm.datasets.folders import MEDIA_SUFFIXES
from coavt_mm.search.catalogue import Catalogue
from coavt_mm.search.index import CATALOGUE

# A player that asks for all gets so many bytes, and asks again when it needs more. Ten
# players of one page would otherwise hold all connections that a browser opens.
PIECE = 1 << 20
RANGE = re.compile(r'bytes=([0-9]{0,18})-([0-9]{0,18})')
KINDS = ('video/', 'audio/', 'image/')


class NotServed(Exception):
    """There is no such clip, or it isn't the one that was indexed."""


def clip_routes(index: Path) -> list[Route]:
    """Routes ``/clip/NUMBER`` and ``/clip/NUMBER/sound`` (where that lies beside it).

    Args:
        index: Folder of the index.
    """

    def answer(request: Request) -> Response:
        number = request.path_params['number']
        column = 'sound' if request.url.path.endswith('/sound') else 'path'
        try:
            file, name = opened(index, number, column)
        except NotServed as error:
            return PlainTextResponse(str(error), 404)
        return piece(file, name, request.headers.get('range'))

    paths = ('/clip/{number:int}', '/clip/{number:int}/sound')
    return [Route(path, answer) for path in paths]


def opened(index: Path, number: int, column: str = 'path') -> tuple[BinaryIO, str]:
    """Open a clip of the index, and name its file.

    A file that changed since it was indexed may be anything by now, or a link that
    leads anywhere: it is refused until the index has seen it.

    Args:
        index: Folder of the index.
        number: Of the clip.
        column: 'path', or 'sound' where that lies in another file.

    Raises:
        NotServed: It is not there, or not the one that was indexed.
    """
    row = _row(index, number)
    if row is None or not (name := row[column]):
        raise NotServed('the index has no such clip')
    if (
        media_kind(os.fsdecode(name)) is None
    ):  # whoever made the index may list anything
        raise NotServed('by its name the file is neither sound nor picture')
    try:
        # the response closes it; a pipe is not waited for
        file = open(name, 'rb', opener=_at_once)  # noqa: SIM115
        found = [os.fstat(file.fileno())]
        found += [os.stat(row[c]) for c in ('path', 'sound') if row[c] and c != column]
    except OSError as error:
        raise NotServed(f'The file is not there: {error.strerror}.') from error
    size = sum(status.st_size for status in found)
    changed = max(status.st_mtime_ns for status in found)
    if (size, changed) != (row['size'], row['changed']):
        file.close()
        raise NotServed('The file has changed: run `coavt search add`.')
    return file, os.fsdecode(name)


def _at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def _row(index: Path, number: int) -> dict | None:
    if number >= 1 << 63:  # more than SQLite counts
        return None
    catalogue = Catalogue(index / CATALOGUE)
    try:
        columns = ('path', 'sound', 'size', 'changed')
        query = f'SELECT {", ".join(columns)} FROM clips WHERE id = ? AND state = ?'
        rows = catalogue.rows(query, (number, 'there'))
    finally:
        catalogue.close()
    return dict(zip(columns, rows[0], strict=True)) if rows else None


def piece(file: BinaryIO, name: str, wanted: str | None) -> Response:
    """Answer with a file, or with the part of it that is asked for; closes it.

    Args:
        file: The file.
        name: Its, which tells its kind.
        wanted: The header ``Range``.
    """
    size = os.fstat(file.fileno()).st_size
    headers = {'Accept-Ranges': 'bytes', 'Cache-Control': 'private, no-cache'}
    kind = media_kind(name)
    found = RANGE.fullmatch(wanted or '')
    if found is None or not any(found.groups()):
        headers['Content-Length'] = str(size)
        return StreamingResponse(_parts(file, size), 200, headers, kind)
    with file:
        first, last = _limits(found[1], found[2], size)
        if first >= size or first > last:
            return Response(
                status_code=416, headers={'Content-Range': f'bytes */{size}'}
            )
        last = min(last, first + PIECE - 1)
        file.seek(first)
        headers['Content-Range'] = f'bytes {first}-{last}/{size}'
        return Response(file.read(last - first + 1), 206, headers, kind)


def _limits(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:  # the last so many
        return max(0, size - int(last)), size - 1 if int(last) else -1
    return int(first), min(int(last), size - 1) if last else size - 1


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    """A file that grows meanwhile ends where its length said."""
    with file:
        while size > 0 and (part := file.read(min(PIECE, size))):
            size -= len(part)
            yield part


def media_kind(name: str) -> str | None:
    """The MIME type of a clip; None for what is neither sound nor picture.

    Args:
        name: Of the file.
    """
    kind = guess_type(name)[0] or ''
    if kind.startswith(KINDS) and 'svg' not in kind:
        return kind
    return 'video/mp4' if name.lower().endswith(MEDIA_SUFFIXES) else None
