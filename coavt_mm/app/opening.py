"""How cards open a clip: a line of the page's own script."""

# Buttons within cards say by their data- attributes what they open.
OPENING = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-open]');
  if (button) trigger('click', {clip: +button.dataset.open,
                                start: +button.dataset.start || 0});
});
"""
