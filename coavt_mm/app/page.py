"""What is seen: the tabs, and how they look."""

from pathlib import Path
from typing import Any

import gradio as gr

from coavt_mm.app import cards
from coavt_mm.app.clip_tab import ID as CLIP
from coavt_mm.app.clip_tab import ClipTab
from coavt_mm.app.collection import Collection
from coavt_mm.app.events import ASKED
from coavt_mm.app.map_tab import MapTab
from coavt_mm.app.search_tab import SearchTab
from coavt_mm.app.uploads import AGE, Uploads

HERE = Path(__file__).parent
FONTS = ['system-ui', 'sans-serif']  # of the machine: nothing is fetched
MONOSPACE = ['ui-monospace', 'monospace']


def make_page(collection: Collection, uploads: Uploads) -> gr.Blocks:
    """Lay out the page.

    Args:
        collection: What it asks.
        uploads: What was handed in.
    """
    with gr.Blocks(
        title='Search your clips',
        analytics_enabled=False,
        delete_cache=(AGE // 6, AGE),
        fill_width=True,
    ) as page:
        heading = gr.HTML(cards.heading(collection.info()))
        with gr.Tabs(elem_id='tabs') as tabs:
            with gr.Tab('Search', id='search'):
                search = SearchTab(collection, uploads)
            with gr.Tab('Clip', id=CLIP):
                clip = ClipTab(collection)
            with gr.Tab('Map', id='map') as tab:
                map_ = MapTab(collection)
        search.connect(page)
        clip.connect([search.hits, map_.field], tabs, search.question)
        map_.connect(tab, search.question)

        def seen() -> list[Any]:  # by whoever opens the page after an `add`
            info = collection.info()
            return [cards.heading(info), *search.choices(info), map_.choices(info)]

        page.load(
            seen, None, [heading, search.folders, search.labels, map_.mark],
            show_progress='hidden', **ASKED,
        )  # fmt: skip
    return page


def looks() -> dict[str, Any]:
    """What Gradio is mounted with so that the page looks and acts as it should."""
    script = (HERE / 'page.js').read_text(encoding='utf-8')
    style = (HERE / 'page.css').read_text(encoding='utf-8')
    theme = gr.themes.Default(
        primary_hue='blue', neutral_hue='slate', font=FONTS, font_mono=MONOSPACE
    ).set(  # Gradio's greys are hard to read
        body_text_color_subdued='*neutral_600',
        body_text_color_subdued_dark='*neutral_400',
        block_label_text_color='*neutral_700',
        block_title_text_color='*neutral_700',
        button_primary_background_fill='*primary_600',
        link_text_color='*primary_700',
        link_text_color_dark='*primary_400',
    )
    return dict(theme=theme, css=style, head=f'<script>{script}</script>')
