"""What stands before the page: who may ask, from where, and for what.

Gradio serves more than this page needs (files by their path, a proxy, an editor of its
own code). Only what the page uses passes; everything else is not found.
"""

import base64
import binascii
import hmac
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = '/gradio_api'
ASKING = f'{API}/run/predict'
PAGE = re.compile(
    r'/|/config/?|/theme\.css|/favicon\.ico'
    r'|/(static|assets|svelte)/.+'
    r'|/clip/\d+(/sound)?'
    rf'|{API}/(upload|upload_progress|info|startup-events|app_id)/?'
    rf'|{ASKING}'
    rf'|{API}/heartbeat/\w+'
)
UPLOADED = f'{API}/file='
UPLOAD = f'{API}/upload'
FULL = 2 << 30  # bytes of uploads at once
LONGEST = 1 << 20  # bytes of a question; files are uploaded before
ANYWHERE = ('', '0.0.0.0', '::')  # bound to all of a machine's addresses

# The page's own scripts and styles stand in it; from elsewhere nothing is loaded, and
# nothing is sent there.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# A file that somebody sent, or that lies in the index, is shown but never run.
FILE_POLICY = "default-src 'none'; media-src 'self'; img-src 'self'; sandbox"


class Guard:
    """Lets through what the page asks for, to those who may.

    Args:
        app: What it stands before.
        host: That the server is bound to. Requests have to name it, or this machine,
            so that no other site's name can be made to lead here.
        uploads: Folder of what was uploaded; from it alone files pass by their path.
        users: Name -> password; empty: no one is asked.
    """

    def __init__(
        self, app: ASGIApp, host: str, uploads: Path, users: Mapping[str, str]
    ):
        self.app, self.uploads, self.users = app, uploads.resolve(), dict(users)
        self.hosts: Collection[str] = ()
        if host not in ANYWHERE:
            self.hosts = {host, 'localhost', '127.0.0.1', '::1'}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':
            return  # the page has no web sockets
        path = scope['path']
        refused = self.refused(path, Headers(scope=scope))
        if refused is None and path == ASKING:
            body = await _read(receive)
            refused = self.refused_body(body)
            receive = _again(body, receive)

        async def send_on(message: Message) -> None:
            if message['type'] == 'http.response.start':
                _add_headers(path, MutableHeaders(scope=message))
            await send(message)

        await (refused or self.app)(scope, receive, send_on)

    def refused(self, path: str, headers: Headers) -> PlainTextResponse | None:
        """What a request gets in the place of an answer; None where it may pass.

        Args:
            path: Without escapes.
            headers: Of the request.
        """
        host = headers.get('host', '')
        if self.hosts and _name(f'//{host}') not in self.hosts:
            return PlainTextResponse('this page has another name', 421)
        origin = headers.get('origin')
        if origin and urlsplit(origin).netloc != host:
            return PlainTextResponse('asked by another page', 403)
        if self.users and not self._knows(headers.get('authorization', '')):
            asked = {'WWW-Authenticate': 'Basic realm="coavt", charset="UTF-8"'}
            return PlainTextResponse('who are you?', 401, asked)
        if not PAGE.fullmatch(path) and not self._is_upload(path):
            return PlainTextResponse('not found', 404)
        if path.rstrip('/') == UPLOAD and _size(self.uploads) > FULL:
            return PlainTextResponse('too much was handed in; wait a while', 507)
        return None

    def refused_body(self, body: bytes | None) -> PlainTextResponse | None:
        """Like :meth:`refused`: Gradio would fetch a file from an address, too.

        Args:
            body: Of a question; None where it is too long.
        """
        if body is None:
            return PlainTextResponse('too long', 413)
        try:
            paths = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            return PlainTextResponse('not JSON', 400)
        if not all(isinstance(p, str) and self._is_upload(UPLOADED + p) for p in paths):
            return PlainTextResponse('not a file that was uploaded', 403)
        return None

    def _knows(self, given: str) -> bool:
        kind, _, code = given.partition(' ')
        try:
            name, _, password = base64.b64decode(code, validate=True).partition(b':')
        except (binascii.Error, ValueError):
            return False
        wanted = self.users.get(name.decode(errors='replace'))
        right = hmac.compare_digest((wanted or '').encode(), password)
        return kind.lower() == 'basic' and wanted is not None and right

    def _is_upload(self, path: str) -> bool:
        if not path.startswith(UPLOADED) or '\0' in path:
            return False
        given = path.removeprefix(UPLOADED)
        # as it is written, and with all links followed
        return all(
            Path(each).is_relative_to(self.uploads) and os.path.isfile(each)
            for each in (os.path.normpath(given), os.path.realpath(given))
        )


def _size(folder: Path) -> int:
    return sum(os.lstat(each).st_size for each in folder.rglob('*') if each.is_file())


def _paths(value: Any) -> Iterator[Any]:
    """What a question names as the path of a file."""
    if isinstance(value, dict):
        if 'path' in value:
            yield value['path']
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from _paths(part)


async def _read(receive: Receive) -> bytes | None:
    """A body; None where it is too long."""
    found = b''
    while True:
        message = await receive()
        found += message.get('body', b'')
        if len(found) > LONGEST:
            return None
        if not message.get('more_body'):
            return found


def _again(body: bytes | None, receive: Receive) -> Receive:
    """Hand out a body that was read, and then what comes behind it."""
    waiting = [{'type': 'http.request', 'body': body or b'', 'more_body': False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _add_headers(path: str, headers: MutableHeaders) -> None:
    is_file = path.startswith(('/clip/', UPLOADED))
    headers['Content-Security-Policy'] = FILE_POLICY if is_file else POLICY
    headers['X-Content-Type-Options'] = 'nosniff'
    headers['Referrer-Policy'] = 'no-referrer'
    headers['Cross-Origin-Resource-Policy'] = 'same-origin'
