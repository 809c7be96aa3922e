"""The tab that searches: what is asked, which clips, and the hits."""

from typing import Any

import gradio as gr

from coavt_mm.app import cards
from coavt_mm.app.collection import Collection
from coavt_mm.app.events import ASKED, OPENING
from coavt_mm.app.uploads import Uploads, unread
from coavt_mm.errors import CoAVTError, shown
from coavt_mm.search import Filters

STREAMS = [
    ('all that a clip has', 'fullest'),
    ('sound and picture together', 'AV'),
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
            self.rerank = gr.Slider(
                0, MOST, 0, step=4, elem_id='rerank', visible=collection.matches,
                label='Re-rank so many of the best by matching',
                info='They are read again, which takes longer; needs words.',
            )  # fmt: skip
            self.folders, self.labels = _places(info)
            chosen = [self.folders, self.labels, *_limits()]
        self.hits = gr.HTML(
            cards.start(info), js_on_load=OPENING, elem_id='hits', min_height=80
        )
        self.options: list[Any] = [self.stream, self.moments, self.rerank, *chosen]
        self.inputs = [self.words, *given, *self.options]

    def connect(self, page: gr.Blocks) -> None:
        """Say what is done when something is used.

        Args:
            page: That it lies in.
        """
        outputs = [self.hits, self.question]
        quiet: Any = dict(ASKED, show_progress='minimal')
        asked = [self.go.click, self.words.submit]
        gr.on(asked, self.search, self.inputs, outputs, **quiet)
        changed = [
            each.release if isinstance(each, gr.Slider) else
            each.submit if isinstance(each, gr.Textbox | gr.Number) else each.input
            for each in self.options
        ]  # fmt: skip
        gr.on(changed, self.again, self.inputs, outputs, **quiet)
        page.unload(self.left)

    def choices(self, info: dict[str, Any]) -> list[Any]:
        """Folders and labels to choose from, as the index is now.

        Args:
            info: Of the index.
        """
        folders, labels = _folders(info), [*info['labels']]
        return [gr.update(choices=each) for each in (folders, labels)]

    def again(self, request: gr.Request, *values: Any) -> Any:
        """Ask with other options, if anything was asked.

        Args:
            request: Whose.
            *values: Of the inputs.
        """
        text, *files = values[:4]
        if not (text or '').strip() and not any(files):
            return gr.skip(), gr.skip()
        return self.search(request, *values)

    def search(self, request: gr.Request, *values: Any) -> tuple[str, Any]:
        """Give the hits, as HTML, and the question.

        Args:
            request: Whose.
            *values: Of the inputs.
        """
        text, sound, picture, clip, stream, moments, rerank, *chosen, number = values
        files = dict(sound=sound, picture=picture, clip=clip)
        self.uploads.keep(request.session_hash or '', files.values())
        text = (text or '').strip() or None
        if text is None and not any(files.values()):
            return cards.complaint('Say what to look for: words, or a file.'), None
        try:
            found = self.collection.find(
                text, stream=stream, moments=moments, filters=_as_filters(*chosen),
                topk=min(int(number), MOST), rerank=min(int(rerank), MOST), **files,
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


def _places(info: dict) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Folders and labels of the clips that are asked."""
    with gr.Row():
        folders = gr.Dropdown(
            _folders(info), multiselect=True, label='Below folders',
            elem_id='folders', allow_custom_value=True,
        )  # fmt: skip
        labels = gr.Dropdown(
            list(info['labels']), multiselect=True, label='With all labels',
            elem_id='labels',
        )  # fmt: skip
    return folders, labels


def _folders(info: dict) -> list[str]:
    """Those that a browser can name: JSON has no bytes that are no UTF-8."""
    return sorted(name for name in info['places'] if name == shown(name))


def _limits() -> list[gr.components.Component]:
    """Dates and lengths of the clips that are asked, and how many are shown."""
    with gr.Row():
        return [
            gr.Textbox(label='Changed on, or after', placeholder='2026-01-31'),
            gr.Textbox(label='Changed before', placeholder='2026-12-31'),
            gr.Number(label='Longer than (s; 0: any)', value=None, minimum=0),
            gr.Number(label='Shorter than (s; 0: any)', value=None, minimum=0),
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
