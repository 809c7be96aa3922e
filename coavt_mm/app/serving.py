"""Start the page: one server, for the page, its clips, and nothing else."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from coavt_mm.errors import ConfigError

if TYPE_CHECKING:
    from coavt_mm.app.collection import Collection

MISSING = (
    "the page needs a package that is not installed ({}): pip install 'coavt-mm[app]'"
)
OLDEST = (6, 31)  # of Gradio; before, its pages load a script from a CDN
# Gradio reads these when it is imported: it calls nobody, and notes nothing down.
QUIET = dict(
    GRADIO_ANALYTICS_ENABLED='False',
    GRADIO_RUN_HISTORY='False',
    GRADIO_MCP_SERVER='False',
    GRADIO_SSR_MODE='False',
    HF_HUB_OFFLINE='1',
)


def check_installed() -> None:
    """Say what is missing before a model is loaded; nothing is imported.

    Raises:
        ConfigError: Gradio is, or it is too old.
    """
    try:
        found = version('gradio')
    except PackageNotFoundError as error:
        raise ConfigError(MISSING.format('the package gradio')) from error
    if tuple(map(int, re.findall('[0-9]+', found)[:2])) < OLDEST:
        raise ConfigError(MISSING.format(f'a newer gradio than {found}'))


@contextmanager
def page_app(
    collection: 'Collection', host: str = '127.0.0.1', users: Mapping[str, str] = {}
) -> Iterator[Any]:
    """The page as an ASGI application; at the end its uploads are removed.

    Args:
        collection: What it asks.
        host: That it will be bound to.
        users: Name -> password of those who may see it; empty: everybody.
    """
    with TemporaryDirectory(prefix='coavt_app_') as folder:
        os.environ.update(QUIET, GRADIO_TEMP_DIR=folder)
        import gradio as gr
        from fastapi import FastAPI

        from coavt_mm.app.files import clip_routes
        from coavt_mm.app.guard import Guard
        from coavt_mm.app.page import looks, make_page
        from coavt_mm.app.uploads import LARGEST, Uploads

        server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        server.router.routes += clip_routes(collection.folder)
        page = make_page(collection, Uploads(Path(folder)))
        gr.mount_gradio_app(
            server, page, path='/', max_file_size=LARGEST, footer_links=[],
            ssr_mode=False, mcp_server=False, show_error=False,
            enable_monitoring=False, pwa=False, **looks(),
        )  # fmt: skip
        yield Guard(server, host, Path(folder), users)


def bound(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: A name or an address of this machine.
        port: 0: any that is free.

    Raises:
        ConfigError: Somebody has it, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f'{host}:{port} can not be used ({error}); choose another --port, or --host'
        ) from error


def serve(
    collection: 'Collection', host: str, line: socket.socket, users: Mapping[str, str]
) -> None:
    """Serve the page until it is interrupted.

    Args:
        collection: What it asks.
        host: That was bound to.
        line: From :func:`bound`; it is closed at the end.
        users: Name -> password of those who may see it; empty: everybody.
    """
    import uvicorn

    # what ends the server ends this process only when it has cleared up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with closing(line), page_app(collection, host, users) as app:
        name = f'[{host}]' if ':' in host else host
        print(f'http://{name}:{line.getsockname()[1]}  (Ctrl-C ends it)', flush=True)
        options: Any = dict(log_level='warning', server_header=False)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[line])
