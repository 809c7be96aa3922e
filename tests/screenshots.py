"""Take the pictures of docs/app.md: python tests/screenshots.py ADDRESS docs/images.

ADDRESS is where `coavt app` serves an index of demo clips, short ones and such that
`tools/analysis/check_search.py glue` made.
"""

import io
import sys
import time
from pathlib import Path

from browser import PHONE, chromium, opened, search
from PIL import Image

WORDS = 'a blue star moves while a bell sounds twice'
DESK = dict(viewport=dict(width=1200, height=860))


def save(page, folder, name, width, **options):
    """Keep what is seen, small enough for a page of documentation."""
    page.wait_for_function(
        '[...document.querySelectorAll("video")].slice(0, 12).every('
        'v => !v.offsetParent || v.readyState > 1)'
    )
    time.sleep(1)
    image = Image.open(io.BytesIO(page.screenshot(**options))).convert('RGB')
    image.thumbnail((width, 10_000))
    image.save(Path(folder) / f'app_{name}.webp', quality=80, method=6)


def take(browser, address, folder):
    """Search, a clip, and the map; at a desk and on a phone, by day and by night."""
    with opened(browser, address, **DESK) as page:
        search(page, WORDS)
        save(page, folder, 'search', 1000)
        page.get_by_role('tab', name='Map').click()
        page.wait_for_selector('#map canvas[data-points]:not([data-points="0"])')
        page.locator('#map canvas').press('ArrowDown')
        page.locator('#map canvas').press('ArrowDown')
        save(page, folder, 'map', 1000)
    with opened(browser, address, **DESK, color_scheme='dark') as page:
        search(page, WORDS).locator('.open').first.click()
        page.wait_for_selector('#drawn img')
        save(page, folder, 'clip', 1000, full_page=True)
    with opened(browser, address, **PHONE) as page:
        search(page, WORDS)
        save(page, folder, 'phone', 390)


if __name__ == '__main__':
    with chromium() as found:
        take(found, *sys.argv[1:])
