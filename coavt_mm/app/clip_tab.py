"""The tab of a clip: player, what the model makes of it, and what is near."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from coavt_mm.app import clip_cards
from coavt_mm.app.cards import complaint
from coavt_mm.app.collection import Collection
from coavt_mm.app.events import ASKED, OPENING
from coavt_mm.errors import CoAVTError

ID = 'clip'
# The keyboard goes on where the new page begins.
FOCUS = "() => setTimeout(() => document.querySelector('.clip h2')?.focus(), 50)"


class ClipTab:
    """Laid out where it is made, within Gradio's blocks.

    Args:
        collection: What is asked.
    """

    def __init__(self, collection: Collection):
        self.collection = collection
        self.chosen = gr.State(None)  # number and moment
        self.head = gr.HTML(clip_cards.NOTHING, elem_id='head')
        self.says = gr.HTML(elem_id='says')
        self.drawn = gr.HTML(elem_id='drawn')
        self.near = gr.HTML(elem_id='near', js_on_load=OPENING)

    def connect(
        self, openers: list[gr.HTML], tabs: gr.Tabs, question: gr.State
    ) -> None:
        """Open a clip when it is clicked.

        Args:
            openers: Their clicks give ``clip`` and ``start``.
            tabs: Of which this one is shown then.
            question: What was asked last.
        """
        outputs = [tabs, self.chosen, self.head, self.says, self.drawn, self.near]
        for opener in [*openers, self.near]:
            opened = opener.click(
                self.open, question, outputs, show_progress='hidden', **ASKED
            )
            opened.then(None, js=FOCUS, **ASKED)
            for part, output in (
                (self.neighbours, self.near),
                (self.words, self.says),
                (self.picture, self.drawn),
            ):
                opened = opened.then(
                    part, self.chosen, output, show_progress='minimal', **ASKED
                )

    def open(self, question: Any, event: gr.EventData) -> tuple:
        """Show what is known at once, and empty the rest.

        Args:
            question: What was asked last.
            event: The click.
        """
        given: Any = event
        try:
            chosen = int(given.clip), max(float(given.start), 0.0)
            clip = self.collection.facts(chosen[0], question)
        except (CoAVTError, AttributeError, TypeError, ValueError) as error:
            return gr.Tabs(selected=ID), None, complaint(error), '', '', ''
        head = clip_cards.clip_head(clip, chosen[1])
        return gr.Tabs(selected=ID), chosen, head, '', '', ''

    def neighbours(self, chosen: tuple | None) -> str:
        """The nearest clips.

        Args:
            chosen: Number and moment of the clip.
        """
        return _told(
            lambda clip, start: clip_cards.neighbours(
                self.collection.near(clip, start)
            ),
            chosen,
        )

    def words(self, chosen: tuple | None) -> str:
        """Captions and texts.

        Args:
            chosen: Number and moment of the clip.
        """

        def found(clip: int, start: float) -> str:
            texts = self.collection.nearest_texts(clip, start)
            try:
                captions = self.collection.captions(clip, start)
            except CoAVTError:  # the drawing below says why
                captions = []
            return clip_cards.says(captions, texts)

        return _told(found, chosen)

    def picture(self, chosen: tuple | None) -> str:
        """What the model sees and hears.

        Args:
            chosen: Number and moment of the clip.
        """

        def found(clip: int, start: float) -> str:
            texts = [words for words, _ in self.collection.nearest_texts(clip, start)]
            picture = self.collection.drawing(clip, start, texts)
            return clip_cards.drawn(picture, self.collection.facts(clip))

        return _told(found, chosen)


def _told(find: Callable[[int, float], str], chosen: tuple | None) -> str:
    if chosen is None:
        return ''
    try:
        return find(*chosen)
    except CoAVTError as error:
        return complaint(error)
