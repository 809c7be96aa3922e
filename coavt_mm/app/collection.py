"""What the page asks: an index and its model, one question after the other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.app.finding import Found, find
from coavt_mm.search import Index

T = TypeVar('T')


class Collection:
    """An index with its model; any thread may ask.

    All is done in one thread: SQLite wants it, and two questions to the model would
    only wait for each other.

    Args:
        folder: Of the index.
        model: That it was made with.

    Raises:
        SearchError: There is no index, or it is of another model.
    """

    def __init__(self, folder: Path, model: CoAVTInferencer):
        self.folder, self.model = folder, model
        self.thread = ThreadPoolExecutor(1, 'collection')
        self.index = self._done(self._opened)

    def _done(self, task: Callable[..., T], *args: Any, **options: Any) -> T:
        return self.thread.submit(task, *args, **options).result()

    def _opened(self) -> Index:
        index = Index(self.folder)
        index.check_model(self.model)
        return index

    def close(self) -> None:
        """Let go of the index."""
        self._done(self.index.close)
        self.thread.shutdown()

    def info(self) -> dict[str, Any]:
        """See :meth:`Index.info`."""
        return self._done(self.index.info)

    def find(self, text: str | None = None, **options: Any) -> Found:
        """See :func:`coavt_mm.app.finding.find`.

        Args:
            text: Words.
            **options: What else to search by, and how.
        """
        return self._done(find, self.index, self.model, text, **options)
