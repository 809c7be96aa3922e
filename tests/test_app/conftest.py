"""A page over a small index, on a port of its own."""

import http.client
import shutil
import threading
import time
from types import SimpleNamespace

import pytest
from api_fixtures import checkpoint, coavt  # noqa: F401


@pytest.fixture(autouse=True, scope='session')
def needs_gradio():
    """The extras `app` and `search`, which the extra `test` has, too."""
    pytest.importorskip('faiss', reason='the extra search (faiss-cpu) is missing')
    reason = 'the extra app (gradio from 6.31 on) is missing'
    pytest.importorskip('gradio', minversion='6.31', reason=reason)


@pytest.fixture(scope='session')
def collection(tmp_path_factory, make_clip, checkpoint, needs_gradio):  # noqa: F811
    """Four clips of one window, one of three, one without picture; labels, a link."""
    from coavt_mm.apis import load_model
    from coavt_mm.app.collection import Collection
    from coavt_mm.search import Index

    root = tmp_path_factory.mktemp('page')
    (root / 'clips/inner').mkdir(parents=True)
    (root / 'secret.mp4').write_bytes(b'secret')
    for number, size in enumerate(((64, 48), (48, 64), (96, 64), (64, 96))):
        place = root / 'clips' / ('inner' if number > 1 else '')
        shutil.copy(make_clip(seconds=0.5, size=size), place / f'{number}.mp4')
    shutil.copy(make_clip(seconds=1.5), root / 'clips/long <b>.mp4')
    shutil.copy(make_clip(seconds=0.5, picture=False), root / 'clips/sound.m4a')
    model = load_model(checkpoint, device='cpu', show_progress=False, isolate=True)
    with Index.create(root / 'index', model) as index:
        index.add(model, [root / 'clips'], {'0.mp4': ['bell'], '1.mp4': ['bell']})
    made = Collection(root / 'index', model)
    yield made
    made.close()


def _served(collection, users=()):
    """A page on a port of its own: its address, and the folder of its uploads."""
    import uvicorn

    from coavt_mm.app.serving import bound, check_installed, page_app

    check_installed()
    with bound('127.0.0.1', 0) as line, page_app(collection, users=dict(users)) as app:
        config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([line],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        port = line.getsockname()[1]
        yield SimpleNamespace(
            address=f'http://127.0.0.1:{port}',
            port=port,
            uploads=app.uploads,
            blocks=app.app.routes[-1].app.get_blocks(),
        )
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope='session')
def served(collection):
    """A page for everybody."""
    yield from _served(collection)


@pytest.fixture(scope='session')
def locked(collection):
    """A page for one user."""
    yield from _served(collection, dict(anna='opén'))


@pytest.fixture
def ask(served):
    """A request as it is written, which no client tidies: status, headers, body."""

    def request(path, method='GET', port=None, body=None, **headers):
        line = http.client.HTTPConnection('127.0.0.1', port or served.port, timeout=20)
        named = {name.replace('_', '-'): value for name, value in headers.items()}
        line.request(method, path, body, named)
        answer = line.getresponse()
        found = answer.status, answer.headers, answer.read()
        line.close()
        return found

    return request
