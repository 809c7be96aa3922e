"""The tab with the map: all clips as points, like ones side by side."""

from pathlib import Path
from typing import Any

import gradio as gr

from coavt_mm.app.collection import Collection
from coavt_mm.app.events import ASKED
from coavt_mm.app.points import methods
from coavt_mm.errors import CoAVTError

LAYOUT = """
<div class="map">
  <div class="field">
    <canvas tabindex="0" role="application" aria-label="Map of the clips. Arrow keys
      choose a clip, Enter opens it, plus and minus zoom, 0 shows all."></canvas>
    <div class="zoom">
      <button type="button" data-zoom="1.5" aria-label="closer">+</button>
      <button type="button" data-zoom="0.667" aria-label="farther">−</button>
      <button type="button" data-zoom="0" aria-label="show all">⤢</button>
    </div>
  </div>
  <p class="legend"></p>
  <div class="chosen hit" aria-live="polite"><p class="told">
    Like clips lie side by side. Click a point, or choose one with the arrow keys.
  </p></div>
</div>
"""
QUESTION = 'fit to the last search'


class MapTab:
    """Laid out where it is made, within Gradio's blocks.

    Args:
        collection: What is asked.

    Attributes:
        field: The map; a click gives ``clip`` and ``start``.
    """

    def __init__(self, collection: Collection):
        self.collection = collection
        names = _marks(collection.info())
        with gr.Row():
            self.mark = gr.Dropdown(
                names, value=QUESTION, label='Point out', elem_id='mark'
            )
            self.method = gr.Radio(
                methods(),
                value='PCA',
                label='Drawn by',
                visible=len(methods()) > 1,
                info='UMAP takes a minute at first.',
            )
        script = (Path(__file__).parent / 'map.js').read_text(encoding='utf-8')
        self.field = gr.HTML({}, html_template=LAYOUT, js_on_load=script, elem_id='map')

    def choices(self, info: dict[str, Any]) -> Any:
        """What can stand out, as the index is now.

        Args:
            info: Of the index.
        """
        return gr.update(choices=_marks(info))

    def connect(self, tab: gr.Tab, question: gr.State) -> None:
        """Draw when the tab is opened, or something else is to stand out.

        Args:
            tab: That it lies in.
            question: What was asked last.
        """
        gr.on(
            [tab.select, self.mark.change, self.method.change],
            self.points, [self.mark, self.method, question], self.field,
            show_progress='minimal', **ASKED,
        )  # fmt: skip

    def points(self, mark: str, method: str, question: Any) -> dict[str, Any]:
        """What is drawn.

        Args:
            mark: What stands out.
            method: Of drawing.
            question: What was asked last.
        """
        label = '' if mark in ('nothing', QUESTION, None) else mark
        asked = question if mark == QUESTION else None
        method = method if method in methods() else 'PCA'
        try:
            return self.collection.points(method, label, asked)
        except CoAVTError as error:
            return dict(ids=[], names=[], x=[], y=[], shade=None, legend=str(error))


def _marks(info: dict[str, Any]) -> list[str]:
    return ['nothing', QUESTION, *info['labels']]
