"""A real browser, without a window, that tests the page as people use it."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
# A microphone that beeps; nothing is fetched that the page doesn't ask for.
OPTIONS = [
    '--no-sandbox', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--disable-background-networking', '--disable-component-update',
]  # fmt: skip
PHONE = dict(
    viewport=dict(width=390, height=844), device_scale_factor=2, has_touch=True,
    is_mobile=True,
)  # fmt: skip


@contextmanager
def chromium():
    """The browser of the system; without it the tests are skipped."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip('no Chromium is installed')
    api = pytest.importorskip('playwright.sync_api', reason='playwright is missing')
    with api.sync_playwright() as playwright:
        # Debian's script reads a limit of memory, which may be no number
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, **options):
    """The page, in a tab of its own; at the end nothing may have gone wrong in it.

    Attributes ``asked`` (addresses that were fetched) and ``wrong`` (complaints of its
    scripts, answers that were errors) are added to Playwright's page.
    """
    context = browser.new_context(permissions=['microphone'], **options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.asked, page.wrong = [], []
    page.on('request', lambda request: page.asked.append(request.url))
    page.on('pageerror', lambda error: page.wrong.append(str(error)))
    page.on('response', lambda r: r.status >= 400 and page.wrong.append(r.url))
    page.on('console', lambda m: m.type == 'error' and page.wrong.append(m.text))
    page.goto(address)
    page.wait_for_selector(WORDS)
    yield page
    context.close()
    assert not page.wrong, page.wrong
    own = (address, 'blob:', 'data:')
    others = [url for url in page.asked if not url.startswith(own)]
    assert not others, others


WORDS = '#words textarea, #words input'


def search(page, words):
    """Type words, and wait for the hits."""
    told = "w => document.querySelector('#hits .count')?.textContent.includes(w)"
    page.fill(WORDS, words)
    page.press(WORDS, 'Enter')
    page.wait_for_function(told, arg=words)
    return page.locator('#hits .hit')


def is_within(page):
    """Whether nothing has to be moved sideways to be seen."""
    return page.evaluate(
        'document.documentElement.scrollWidth <= document.documentElement.clientWidth'
    )
