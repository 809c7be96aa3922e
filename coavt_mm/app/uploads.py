"""What people hand in: bounded, kept while it is looked at, never decoded here.

A child process reads it (``isolate`` of the model).
"""

import shutil
from pathlib import Path
from typing import Any

import gradio as gr

LARGEST = '200mb'  # of one file
AGE = 3600  # s; then what nobody asked with goes, too


def unread(component: gr.components.Component) -> gr.components.Component:
    """Make a component hand on the path of its file, or None.

    Some of Gradio's would open the file first, in the server's process.

    Args:
        component: For sounds, pictures or clips.
    """

    def path(payload: Any) -> str | None:
        return payload and payload.path

    # a class of our own would write a file of stubs
    component.preprocess = path  # type: ignore[method-assign]
    return component


class Uploads:
    """Files that are in use, by the tab that sent them.

    Args:
        folder: Where Gradio puts them, a folder for each file.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.used: dict[str, set[Path]] = {}

    def keep(self, session: str, paths: Any) -> None:
        """Forget what a tab used before, and does no more.

        Args:
            session: The tab's.
            paths: What it uses now; None among them doesn't count.
        """
        now = {Path(path).resolve() for path in paths if path}
        for path in self.used.pop(session, set()) - now:
            self._remove(path)
        if now:
            self.used[session] = now

    def _remove(self, path: Path) -> None:
        inner = (
            path.relative_to(self.folder) if path.is_relative_to(self.folder) else None
        )
        if inner is not None and len(inner.parts) > 1:
            shutil.rmtree(self.folder / inner.parts[0], ignore_errors=True)
