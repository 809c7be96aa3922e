"""What gets past the guard, and what doesn't."""

import base64
import json
import os
import re

import pytest

FILE = '/gradio_api/file='
ELSEWHERE = [
    '/etc/passwd', '//etc/passwd', '/../etc/passwd', '/clip/../../etc/passwd',
    '/clip/1/../../../etc/passwd', '/assets/../../../../../../etc/passwd',
    '/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd',
    '/static/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd', '/static//etc/passwd',
    '/svelte/../../../../../../../etc/passwd', '/assets//etc/passwd',
    f'{FILE}/etc/passwd', f'{FILE}%2fetc%2fpasswd', f'{FILE}..%2f..%2fetc%2fpasswd',
    f'{FILE}etc/passwd', f'{FILE}file:///etc/passwd', f'{FILE}/proc/self/environ',
    f'{FILE}http://127.0.0.1:1/', '/gradio_api/file//etc/passwd', '/file=/etc/passwd',
    f'{FILE}{{index}}/catalogue.sqlite', f'{FILE}{{clips}}/0.mp4',
    f'{FILE}{{uploads}}/../../etc/passwd', f'{FILE}{{uploads}}%2f..%2f..%2fetc/passwd',
    f'{FILE}{{uploads}}/%2e%2e/%2e%2e/etc/passwd', f'{FILE}{{uploads}}',
    f'{FILE}{{uploads}}/link/passwd', f'{FILE}{{uploads}}/%00', f'{FILE}{{uploads}}x/a',
]  # fmt: skip
CLOSED = [
    '/gradio_api/proxy=http://127.0.0.1:1/', '/gradio_api/vibe-edit', '/login',
    '/gradio_api/vibe-code', '/monitoring', '/docs', '/openapi.json',
    '/gradio_api/openapi.json', '/gradio_api/mcp/', '/gradio_api/run/search',
    '/gradio_api/call/search', '/gradio_api/runs', '/gradio_api/process_recording',
    '/gradio_api/custom_component/1/client/component/x', '/dev/reload',
    '/gradio_api/deep_link', '/gradio_api/component_server', '/manifest.json',
    '/gradio_api/queue/join', '/gradio_api/queue/data', '/gradio_api/cancel',
]  # fmt: skip


@pytest.mark.parametrize('path', ELSEWHERE)
def test_no_file_but_the_pages_own(path, ask, served, collection):
    link = served.uploads / 'link'
    if not link.is_symlink():
        link.symlink_to('/etc')
    root = collection.folder.parent
    given = path.format(
        uploads=served.uploads, index=root / 'index', clips=root / 'clips'
    )
    status, _, body = ask(given)
    assert status in (400, 403, 404, 405), given
    assert b'root:' not in body and b'SQLite' not in body


@pytest.mark.parametrize('path', CLOSED)
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_what_the_page_does_not_use_is_closed(path, method, ask):
    assert ask(path, method)[0] == 404


def test_the_page_loads_nothing_from_elsewhere(ask):
    status, headers, body = ask('/')
    assert status == 200
    assert "default-src 'self'" in headers['content-security-policy']
    assert "frame-ancestors 'none'" in headers['content-security-policy']
    assert b'fonts.googleapis' not in body and b'<script src="http' not in body
    status, _, style = ask('/theme.css')
    assert (status, re.findall(rb'(?:url\(|import).{0,2}http', style)) == (200, [])


def test_an_upload_comes_back_and_is_not_run(ask, served):
    place = served.uploads / 'abc'
    place.mkdir(exist_ok=True)
    (place / 'evil.html').write_text('<script>alert(1)</script>')
    status, headers, _ = ask(f'{FILE}{place}/evil.html')
    assert status == 200
    assert 'sandbox' in headers['content-security-policy']
    assert 'script-src' not in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
    assert 'attachment' in headers.get('content-disposition', '')


def form(size):
    line = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n'
    return line + b'Content-Type: audio/wav\r\n\r\n' + b'a' * size + b'\r\n--x--\r\n'


def test_uploads_are_bounded(served, ask, monkeypatch):
    kind = {'Content-Type': 'multipart/form-data; boundary=x'}
    before = {path for path in served.uploads.rglob('*') if path.is_file()}
    assert ask('/gradio_api/upload', 'POST', body=form(1000), **kind)[0] == 200
    (new,) = {p for p in served.uploads.rglob('*') if p.is_file()} - before
    assert new.stat().st_size == 1000
    monkeypatch.setattr(served.blocks, 'max_file_size', 2000)
    assert ask('/gradio_api/upload', 'POST', body=form(3000), **kind)[0] == 413
    after = {path for path in served.uploads.rglob('*') if path.is_file()}
    assert after == before | {new}
    monkeypatch.setattr('coavt_mm.app.guard.FULL', 999)
    assert ask('/gradio_api/upload', 'POST', body=form(1), **kind)[0] == 507


@pytest.mark.parametrize(
    'host', ['evil.example', 'evil.example:{port}', '', '[', 'x@y']
)
def test_another_sites_name_does_not_lead_here(host, ask, served):
    assert ask('/', Host=host.format(port=served.port))[0] in (400, 421)


@pytest.mark.parametrize('host', ['localhost:{port}', '127.0.0.1:{port}', 'LOCALHOST'])
def test_names_of_this_machine_do(host, ask, served):
    assert ask('/config', Host=host.format(port=served.port))[0] == 200


def test_other_pages_can_not_ask(ask, served):
    own, kind = served.address, {'Content-Type': 'application/json'}
    asked = '/gradio_api/run/predict'
    for origin in ('http://evil.example', 'null', f'{own}.evil.example'):
        assert ask(asked, 'POST', body='{}', Origin=origin, **kind)[0] == 403
    assert ask(asked, 'POST', body='{}', Origin=own, **kind)[0] != 403


def basic(given):
    return 'Basic ' + base64.b64encode(given.encode()).decode()


PATHS = ['/', '/clip/1', '/config', '/theme.css', '/gradio_api/upload', '/assets/x.js']
WRONG = [
    None, '', 'Basic', 'Basic !', basic('anna:open'), basic('anna:'), basic(':opén'),
    basic('berta:opén'), basic('anna'), 'Bearer ' + basic('anna:opén')[6:],
    'Basic ' + base64.b64encode(b'\xff\xfe:x').decode(),
]  # fmt: skip


@pytest.mark.parametrize('given', WRONG)
def test_nothing_without_the_password(given, ask, locked):
    named = {} if given is None else {'Authorization': given}
    for path in PATHS:
        status, headers, _ = ask(path, port=locked.port, **named)
        assert status == 401, path
        assert headers['www-authenticate'].startswith('Basic')


def test_with_the_password(ask, locked):
    for path in ('/', '/clip/1', '/config'):
        given = basic('anna:opén')
        assert ask(path, port=locked.port, Authorization=given)[0] == 200


def test_uploads_are_removed_at_the_end(collection):
    from coavt_mm.app.serving import page_app

    with page_app(collection) as app:
        (app.uploads / 'some').mkdir()
        assert app.uploads.is_dir()
        assert os.stat(app.uploads).st_mode & 0o77 == 0
    assert not app.uploads.exists()


def question(**file):
    data = [None, None, dict(file, meta={'_type': 'gradio.FileData'}), *[None] * 10]
    return json.dumps(dict(data=data, fn_index=0, session_hash='x'))


NO_UPLOADS = [
    '/etc/passwd', 'http://127.0.0.1:1/x.wav', '', None, 7, '{uploads}/../x', '/x.svg',
    '{uploads}/link/passwd', ['/etc/passwd'], {'path': '/etc/passwd'},
]  # fmt: skip


@pytest.mark.parametrize('path', NO_UPLOADS)
def test_a_question_names_no_file_but_uploads(path, ask, served):
    link = served.uploads / 'link'
    if not link.is_symlink():
        link.symlink_to('/etc')
    given = path.format(uploads=served.uploads) if isinstance(path, str) else path
    kind = {'Content-Type': 'application/json'}
    body = question(path=given, url='http://127.0.0.1:1/x')
    assert ask('/gradio_api/run/predict', 'POST', body=body, **kind)[0] == 403


@pytest.mark.parametrize(('body', 'status'), [
    ('{', 400), ('[' * 100_000, 400), ('"' + 'a' * 2_000_000 + '"', 413),
])  # fmt: skip
def test_what_is_no_question(body, status, ask):
    kind = {'Content-Type': 'application/json'}
    assert ask('/gradio_api/run/predict', 'POST', body=body, **kind)[0] == status
