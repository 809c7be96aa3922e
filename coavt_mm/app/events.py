"""How the page asks the server, and how cards open a clip."""

from typing import Any

# A question gets its answer as that of its request. By Gradio's queue the answers of a
# tab come in one stream, which the server closes when none is due: a question that is
# asked in that moment would wait for ever.
ASKED: dict[str, Any] = dict(queue=False, api_visibility='private')

# Buttons within cards say by their data- attributes what they open.
OPENING = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-open]');
  if (button) trigger('click', {clip: +button.dataset.open,
                                start: +button.dataset.start || 0});
});
"""
