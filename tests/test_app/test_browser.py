"""The page in a real Chromium: words, files, players, clips, the map, keys, a phone."""

import re
import time

import pytest
from browser import PHONE, WORDS, chromium, is_within, opened, search

pytestmark = pytest.mark.slow

LONG = 'long <b>.mp4'
DRAWN = '#map canvas[data-points="6"]'


@pytest.fixture(scope='module')
def browser(served):
    with chromium() as found:
        yield found


def clip_name(page):
    """The name of the clip that is open, once all of its page is there."""
    page.wait_for_selector('#drawn img')
    return page.locator('.clip h2').inner_text()


def test_words_find_and_a_hit_plays_from_its_moment(browser, served):
    with opened(browser, served.address) as page:
        hits = search(page, 'a bell rings')
        assert hits.count() == 6
        names = page.locator('#hits .open').all_inner_texts()
        assert LONG in names  # as it is written, not as HTML
        hit = hits.nth(names.index(LONG))
        start = float(hit.locator('video').get_attribute('data-start'))
        hit.locator('[data-play]').click()
        player = hit.locator('video')
        page.wait_for_function('p => !p.paused', arg=player.element_handle())
        assert start <= player.evaluate('p => p.currentTime') <= 1.6
        line = hit.locator('.line svg')
        box = line.bounding_box()
        line.click(position=dict(x=0.8 * box['width'], y=10))
        moved = player.evaluate('p => [p.currentTime, p.duration]')
        assert 0.75 < moved[0] / moved[1] <= 1.0


def test_a_player_shows_the_middle_and_starts_at_the_begin(browser, served):
    with opened(browser, served.address) as page:
        search(page, 'a dog')
        player = page.locator('#hits video').first
        page.wait_for_function('p => p.readyState > 1', arg=player.element_handle())
        assert player.evaluate('p => p.currentTime') > 0.1
        begun = player.evaluate(
            """p => new Promise(tell => {
              p.addEventListener('seeked', () => tell(p.currentTime), {once: true});
              p.play();
            })"""
        )
        assert abs(begun - float(player.get_attribute('data-start'))) < 0.1


def test_a_clip_that_is_handed_in_finds_itself(browser, served, collection):
    clips = collection.folder.parent / 'clips'
    before = set(served.uploads.iterdir())
    with opened(browser, served.address) as page:
        page.click('#given button')
        page.set_input_files('#clip input[type=file]', clips / 'inner/2.mp4')
        page.wait_for_selector('#clip video')
        page.click('#go')
        page.wait_for_selector('#hits .hit')
        assert '2.mp4' in page.locator('#hits .open').all_inner_texts()
        assert page.locator('#hits .number').first.inner_text() == '1.00'
        assert set(served.uploads.iterdir()) > before
    for _ in range(100):  # the tab is closed, its file goes
        if set(served.uploads.iterdir()) <= before:
            break
        time.sleep(0.1)
    assert set(served.uploads.iterdir()) <= before


def test_a_file_that_is_no_clip_is_said_in_a_line(browser, served, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'\x89PNG\r\n\x1a\n' + b'x' * 100)
    with opened(browser, served.address) as page:
        page.click('#given button')
        page.set_input_files('#picture input[type=file]', broken)
        page.wait_for_selector('#picture img')
        page.click('#go')
        told = page.locator('#hits [role=alert]').inner_text()
        assert 'broken.png' in told and '\n' not in told


def test_a_sound_is_recorded(browser, served):
    with opened(browser, served.address) as page:
        page.click('#given button')
        page.click('#sound .record-button')
        time.sleep(1)
        page.click('#sound .stop-button')
        page.wait_for_selector('#sound .play-pause-button')
        page.click('#go')
        page.wait_for_selector('#hits .hit')


def test_the_map_is_clicked(browser, served, collection):
    points = collection.points()
    number = points['names'].index('0.mp4')
    with opened(browser, served.address) as page:
        page.get_by_role('tab', name='Map').click()
        canvas = page.locator('#map canvas')
        page.wait_for_selector(DRAWN)
        box = canvas.bounding_box()
        x = 18 + points['x'][number] * (box['width'] - 36)
        y = box['height'] - 18 - points['y'][number] * (box['height'] - 36)
        canvas.click(position=dict(x=x, y=y))
        name = page.locator('.chosen .open')
        assert name.inner_text() == '0.mp4'
        name.click()
        assert clip_name(page) == '0.mp4'
        assert 'bell' in page.locator('.clip .chips').inner_text()
        assert page.locator('#near .open').count() == 5


def test_by_keys_alone(browser, served):
    with opened(browser, served.address) as page:
        page.keyboard.type('a red car')
        page.keyboard.press('Enter')
        page.wait_for_selector('#hits .hit')
        for _ in range(60):
            page.keyboard.press('Tab')
            if page.evaluate("document.activeElement.matches('#hits .open')"):
                break
        name = page.evaluate('document.activeElement.textContent')
        page.keyboard.press('Enter')
        assert clip_name(page) == name
        assert page.evaluate("document.activeElement.matches('.clip h2')")
        for _ in range(30):
            page.keyboard.press('Shift+Tab')
            if page.evaluate("document.activeElement.getAttribute('role') == 'tab'"):
                break
        for _ in range(4):
            if page.evaluate('document.activeElement.textContent.trim()') == 'Map':
                break
            page.keyboard.press('ArrowRight')
            page.keyboard.press('Tab')
        page.keyboard.press('Enter')
        for _ in range(30):
            page.keyboard.press('Tab')
            if page.evaluate("document.activeElement.matches('#map canvas')"):
                break
        page.wait_for_selector(DRAWN)
        page.keyboard.press('ArrowLeft')
        page.keyboard.press('ArrowRight')
        name = page.locator('.chosen .open').inner_text()
        page.keyboard.press('+')
        page.keyboard.press('Enter')
        page.wait_for_function(
            "name => document.querySelector('.clip h2').textContent == name", arg=name
        )


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_phone(scheme, browser, served):
    with opened(browser, served.address, **PHONE, color_scheme=scheme) as page:
        search(page, 'a bell rings')
        assert is_within(page)
        dark = sum(colour(page, 'body', 'backgroundColor')) < 200
        assert dark == (scheme == 'dark')
        for part in ('#hits .count', '#hits .open', '.top h1'):
            assert contrast(page, part) >= 4.5, part
        page.click('#given button')
        page.click('#options button')
        assert is_within(page)
        page.locator('#hits .open').first.tap()
        clip_name(page)
        assert is_within(page)
        assert contrast(page, '.path') >= 4.5
        page.get_by_role('tab', name='Map').tap()
        page.wait_for_selector('#map canvas')
        assert is_within(page)


def colour(page, selector, name):
    """Red, green, blue of what is seen, 0 to 255."""
    script = f'e => getComputedStyle(e).{name}'
    told = page.locator(selector).first.evaluate(script)
    return [float(x) for x in re.findall(r'[\d.]+', told)][:3]


def contrast(page, selector):
    """As WCAG computes it, of letters on the page's ground."""
    lights = []
    for part, name in ((selector, 'color'), ('body', 'backgroundColor')):
        shares = [value / 255 for value in colour(page, part, name)]
        linear = [
            s / 12.92 if s <= 0.04 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
        ]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_with_a_password(browser, locked):
    given = dict(username='anna', password='opén')
    with opened(browser, locked.address, http_credentials=given) as page:
        hits = search(page, 'a bell rings')
        player = hits.locator('video').first
        page.wait_for_function('p => p.readyState > 1', arg=player.element_handle())


def test_what_is_not_asked_is_said(browser, served):
    with opened(browser, served.address) as page:
        page.fill(WORDS, '  ')
        page.click('#go')
        assert 'words' in page.locator('#hits [role=alert]').inner_text()


def test_questions_in_quick_succession(browser, served):
    """Each is answered, whatever is under way when it is asked."""
    with opened(browser, served.address) as page:
        for number in range(20):
            search(page, f'a bell rings {number} times')
            page.locator('#hits .open').first.click()
            clip_name(page)  # three more things are asked then, in turn
            page.get_by_role('tab', name='Search').click()
