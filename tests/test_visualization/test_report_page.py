import base64
import io
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from PIL import Image

from coavt_mm.visualization import (
    Answer,
    ClipCard,
    Example,
    Found,
    Report,
    confusion_figure,
    recall_figure,
    report_page,
)

HOSTILE = '<script>alert("x")</script>\'"&\x1b[31m\x00\u202e\udcff</p>'
VOID = {'meta', 'img'}
RATE = 16000


class Page(HTMLParser):
    """Elements, words and whether all that is opened is closed."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != 'style':
            self.words.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def bytes_of(self, tag):
        sources = [attributes['src'].split(';base64,') for attributes in self.all(tag)]
        return [base64.b64decode(content) for _, content in sources]


def card(name='a.mp4', seconds=1.0, frames=1, captions=('a bell rings',)):
    noise = np.random.default_rng(0)
    sound = None
    if seconds:
        sound = 0.1 * noise.standard_normal(round(seconds * RATE))
    pictures = noise.integers(0, 255, (frames, 90, 160, 3), np.uint8)
    return ClipCard(name, list(pictures), sound, RATE, captions)


def example(rank=1, hits=1, right=None):
    found = [Found(card(f'{i}.mp4'), 0.5, i + 1 == rank) for i in range(hits)]
    return Example('a bell', rank, found, right)


def decoded_seconds(content):
    with av.open(io.BytesIO(content)) as file:
        rate = file.streams.audio[0].rate
        return sum(frame.samples for frame in file.decode(audio=0)) / rate


def full_report():
    return Report(
        'Vögel im Garten',
        facts={'data': 'own clips', 'R@1': '10 -> 40 %', 'steps': 200},
        warnings=['one clip can not be read'],
        figures={
            'Recall': recall_figure({'text_to_clip': {'AV': [50.0, 100.0]}}),
            'Confusion': confusion_figure(np.eye(2, dtype=int), ['Öl', 'b & c']),
        },
        tables={
            'Classes': [['class', 'clips', 'AP'], ['Öl', 3, 99.96], ['b', 1, None]]
        },
        best=[example()],
        worst=[example(rank=7, hits=2, right=card('right.mp4'))],
        answers=[Answer(card('c.mp4'), 'a red dog , runs', ['a dog', 'a dog runs'])],
        commands=['coavt infer a.pth\ncoavt test a.pth'],
    )


def test_page_says_all():
    page = Page(report_page(full_report()))
    words = '\n'.join(page.words)
    for said in (
        'Vögel im Garten',
        '10 -> 40 %',
        'one clip can not be read',
        '100.0',
        'The right clip is at rank 7.',
        'right.mp4',
        'a red dog, runs',
        'a dog runs',
        'coavt infer a.pth\ncoavt test a.pth',
    ):
        assert said in words
    links = [a['href'].removeprefix('#') for a in page.all('a')]
    assert links == [section['id'] for section in page.all('section')]
    assert len(links) == 9


def test_page_needs_nothing_and_can_be_used_by_all():
    content = report_page(full_report())
    page = Page(content)
    written = re.sub(r';base64,[\w+/=]+', '', content)
    assert not any(mark in written for mark in ('//', 'url(', '@import', 'http:'))
    assert not page.all('script')
    for name in ('img', 'audio'):
        assert all(item['src'].startswith('data:') for item in page.all(name))
    assert all(image['alt'].strip() for image in page.all('img'))
    assert all(player['aria-label'].strip() for player in page.all('audio'))
    assert 'sound + picture (AV)' in page.all('img')[0]['alt']
    assert page.all('html') == [{'lang': 'en'}]
    assert 'width=device-width' in page.all('meta')[2]['content']
    assert 'prefers-color-scheme: dark' in content
    for image in page.bytes_of('img'):
        Image.open(io.BytesIO(image)).load()


def test_texts_of_others_are_no_html():
    hostile = card(HOSTILE, captions=[HOSTILE])
    report = Report(
        HOSTILE,
        facts={HOSTILE: HOSTILE},
        warnings=[HOSTILE],
        figures={HOSTILE: recall_figure({'text_to_clip': {'AV': [50.0]}})},
        tables={HOSTILE: [[HOSTILE], [HOSTILE]]},
        best=[Example(HOSTILE, 2, [Found(hostile, 0.5, False)], hostile)],
        answers=[Answer(hostile, HOSTILE, [HOSTILE])],
        answers_title=HOSTILE,
        commands=[HOSTILE],
    )
    content = report_page(report)
    content.encode('utf-8')
    assert not any(mark in content for mark in ('\x1b', '\x00', '\u202e'))
    page = Page(content)
    assert not page.all('script')
    assert len(page.all('title')) == 1
    known = {'class', 'alt', 'src', 'id', 'href', 'lang', 'dir', 'style', 'tabindex'}
    known |= {'role', 'aria-label', 'scope', 'controls', 'preload'}
    for name, attributes in page.elements:
        assert name == 'meta' or set(attributes) <= known
    assert '\n'.join(page.words).count('<script>alert("x")</script>') == 22


@pytest.mark.parametrize('rate', [8000, 16000, 44100])
@pytest.mark.parametrize('seconds', [0.0001, 0.3, 2.56])
def test_players_are_as_long_as_the_sound(seconds, rate):
    sound = np.full(max(1, round(seconds * rate)), 0.1)
    clip = ClipCard('a', waveform=sound, rate=rate)
    page = Page(report_page(Report('a', answers=[Answer(clip, 'b', ['c'])])))
    (content,) = page.bytes_of('audio')
    assert decoded_seconds(content) == pytest.approx(max(seconds, 0.05), abs=0.001)


def test_a_long_sound_is_cut_and_says_so():
    page = Page(report_page(Report('a', answers=[Answer(card('a', 12.0), 'b', ['c'])])))
    (content,) = page.bytes_of('audio')
    assert decoded_seconds(content) == pytest.approx(10.0)
    assert 'the first 10.0 s of 12.0 s' in page.words


@pytest.mark.parametrize(
    ('clip', 'images', 'players', 'said'),
    [
        (card(seconds=0), 1, 0, ['no sound']),
        (card(frames=0), 1, 1, ['no picture']),
        (card(seconds=0, frames=0), 0, 0, ['no picture', 'no sound']),
        (ClipCard('a', waveform=np.zeros(0)), 0, 0, ['no picture', 'no sound']),
        (card(frames=7), 4, 1, []),
        (ClipCard('a', waveform=np.array([np.nan, np.inf, -9])), 1, 1, ['no picture']),
    ],
)
def test_what_a_clip_lacks_is_said(clip, images, players, said):
    page = Page(report_page(Report('a', answers=[Answer(clip, '', [])])))
    assert len(page.all('img')) == images
    assert len(page.all('audio')) == players
    assert [x for x in page.words if x in ('no sound', 'no picture')] == said
    assert '(no word)' in page.words


def test_the_right_clip_is_shown_once():
    among = Page(report_page(Report('a', best=[example(2, 3, card('right.mp4'))])))
    assert 'right.mp4' not in among.words
    assert [x for x in among.words if 'right' in x and '·' in x] == [
        '2. similarity 0.50 · right'
    ]
    beyond = Page(report_page(Report('a', best=[example(4, 5, card('right.mp4'))])))
    assert beyond.words.count('right.mp4') == 1
    assert len(beyond.all('figure')) == 4


@pytest.mark.slow  # sixty players
def test_page_stays_small():
    many = [example(rank=9, hits=9, right=card('right.mp4', 30.0, 5))] * 50
    answers = [Answer(card(seconds=30.0, frames=30, captions=['x'] * 99), 'b', ['c'])]
    report = Report('a', best=many, worst=many, answers=answers * 99)
    content = report_page(report)
    assert len(content) < 6e6
    page = Page(content)
    assert 'The first 6 of 50 queries.' in page.words
    assert 'The first 12 of 99 clips.' in page.words


def test_empty_report():
    page = Page(report_page(Report('nothing')))
    assert page.words.count('nothing') == 2
    assert not page.all('section')
