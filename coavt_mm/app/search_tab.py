"""The tab that searches: what is asked, which clips, and the hits."""

from typing import Any

import gradio as gr

from coavt_mm.app import cards
from coavt_mm.app.collection import Collection
from coavt_mm.app.opening import OPENING
from coavt_mm.app.uploads import Uploads, unread
from coavt_mm.errors import CoAVTError
from coavt_mm.search import Filters

STREAMS = [
    ('all that a clip has', 'fullest'),
    ('whichever fits best', 'best'),
    ('sound', 'A'),
    ('picture', 'V'),
]


MOST = 60  # hits shown


class SearchTab:
    """Laid out where it is made, within Gradio's blocks.

    Args:
        collection: What is asked.
        uploads: What was handed in.

    Attributes:
        hits: The hits; a click on one gives ``clip`` and ``start``.
        question: What they answer; of each tab of a browser.
    """

    def __init__(self, collection: Collection, uploads: Uploads):
        self.collection, self.uploads = collection, uploads
        self.question = gr.State(None)
        with gr.Row(elem_id='ask'):
            self.words = gr.Textbox(
                label='What are you looking for?', max_lines=1, scale=6, autofocus=True,
                placeholder='a dog barks while it rains', elem_id='words',
                min_width=280,
            )  # fmt: skip
            self.go = gr.Button('Search', variant='primary', scale=1, elem_id='go')
        given = _given()
        info = collection.info()
        with gr.Accordion('Options and filters', open=False, elem_id='options'):
            self.stream = gr.Radio(
                STREAMS, value='fullest', label='Compare with', elem_id='stream'
            )
            self.moments = gr.Checkbox(
                info['settings']['hop'] < info['settings']['seconds'],
                label='Moments: say when, in long clips',
                elem_id='moments',
            )
            chosen = _filters(info)
        self.hits = gr.HTML(js_on_load=OPENING, elem_id='hits', min_height=80)
        self.inputs = [self.words, *given, self.stream, self.moments, *chosen]

    def connect(self, page: gr.Blocks) -> None:
        """Say what is done when something is used.

        Args:
            page: That it lies in.
        """
        asked = [
            self.go.click,
            self.words.submit,
            self.stream.input,
            self.moments.input,
        ]
        gr.on(
            asked, self.search, self.inputs, [self.hits, self.question],
            api_visibility='private', show_progress='minimal',
        )  # fmt: skip
        page.unload(self.left)

    def search(self, request: gr.Request, *values: Any) -> tuple[str, Any]:
        """Give the hits, as HTML, and the question.

        Args:
            request: Whose.
            *values: Of the inputs.
        """
        text, sound, picture, clip, stream, moments, *chosen, number = values
        files = dict(sound=sound, picture=picture, clip=clip)
        self.uploads.keep(request.session_hash or '', files.values())
        text = (text or '').strip() or None
        if text is None and not any(files.values()):
            return cards.complaint('Say what to look for: words, or a file.'), None
        try:
            found = self.collection.find(
                text, stream=stream, moments=moments, filters=_as_filters(*chosen),
                topk=min(int(number), MOST), **files,
            )  # fmt: skip
        except CoAVTError as error:
            return cards.complaint(error), None
        words = f' for “{text}”' if text else ''
        return cards.cards(found.hits, found.notes, words), found.question

    def left(self, request: gr.Request) -> None:
        """Forget the files of a tab that was closed.

        Args:
            request: Whose.
        """
        self.uploads.keep(request.session_hash or '', [])


def _given() -> list[gr.components.Component]:
    """A sound, a picture, a clip to search by."""
    name = 'Search by a sound, a picture or a clip'
    with gr.Accordion(name, open=False, elem_id='given'), gr.Row():
        sound = gr.Audio(
            label='Sound: record, or a file', elem_id='sound', type='filepath',
            sources=['microphone', 'upload'],
        )  # fmt: skip
        picture = gr.Image(
            label='Picture', elem_id='picture', type='filepath', height=220,
            sources=['upload', 'clipboard'],
        )  # fmt: skip
        clip = gr.Video(label='Clip', elem_id='clip', sources=['upload'], height=220)
        return [unread(each) for each in (sound, picture, clip)]


def _filters(info: dict) -> list[gr.components.Component]:
    """Which clips are asked, and how many are shown."""
    with gr.Row():
        folders = gr.Dropdown(
            sorted(info['places']), multiselect=True, label='Below folders',
            elem_id='folders', allow_custom_value=True,
        )  # fmt: skip
        labels = gr.Dropdown(
            list(info['labels']), multiselect=True, label='With all labels',
            elem_id='labels',
        )  # fmt: skip
    with gr.Row():
        return [
            folders,
            labels,
            gr.Textbox(label='Changed on, or after', placeholder='2026-01-31'),
            gr.Textbox(label='Changed before', placeholder='2026-12-31'),
            gr.Number(label='Longer than (s)', value=None, minimum=0),
            gr.Number(label='Shorter than (s)', value=None, minimum=0),
            gr.Slider(4, MOST, 12, step=4, label='Hits shown', elem_id='number'),
        ]


def _as_filters(
    folders: Any, labels: Any, after: Any, before: Any, longer: Any, shorter: Any
) -> Filters:
    return Filters(
        folders=tuple(map(str, folders or ())),
        labels=tuple(map(str, labels or ())),
        after=(after or '').strip() or None,
        before=(before or '').strip() or None,
        longer=longer or None,
        shorter=shorter or None,
    )
