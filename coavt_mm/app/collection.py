"""What the page asks: an index and its model, one question after the other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.app import looking
from coavt_mm.app.finding import Found, find
from coavt_mm.app.points import Map
from coavt_mm.search import Index
from coavt_mm.search.questions import Question
from coavt_mm.search.stored import making_sense

T = TypeVar('T')


class Collection:
    """An index with its model; any thread may ask.

    All is done in one thread: SQLite wants it, and two questions to the model would
    only wait for each other.

    Args:
        folder: Of the index.
        model: That it was made with.
        texts: That clips are compared with; empty: the index's labels and captions.

    Raises:
        SearchError: There is no index, or it is of another model.
    """

    def __init__(
        self, folder: str | Path, model: CoAVTInferencer, texts: Sequence[str] = ()
    ):
        self.folder, self.model = Path(folder), model
        self.thread = ThreadPoolExecutor(1, 'collection')
        self.index = self._done(self._opened)
        self.texts = looking.Texts(self.index, texts)
        self.map = Map(self.index)

    def _done(self, task: Callable[..., T], *args: Any, **options: Any) -> T:
        def run() -> T:
            with making_sense(self.folder):
                return task(*args, **options)

        return self.thread.submit(run).result()

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

    @property
    def matches(self) -> bool:
        """Whether its model can re-rank."""
        return getattr(self.model.model, 'matching_head', None) is not None

    def find(self, text: str | None = None, **options: Any) -> Found:
        """See :func:`coavt_mm.app.finding.find`.

        Args:
            text: Words.
            **options: What else to search by, and how.
        """
        return self._done(find, self.index, self.model, text, **options)

    def facts(self, clip: int, question: Question | None = None) -> dict[str, Any]:
        """See :func:`coavt_mm.app.looking.facts`."""
        return self._done(looking.facts, self.index, clip, question)

    def near(self, clip: int, start: float) -> list[dict]:
        """See :func:`coavt_mm.app.looking.near`."""
        return self._done(looking.near, self.index, clip, start)

    def nearest_texts(self, clip: int, start: float) -> list[tuple[str, float]]:
        """See :meth:`coavt_mm.app.looking.Texts.nearest`."""
        return self._done(self.texts.nearest, self.model, clip, start)

    def captions(self, clip: int, start: float) -> list[dict[str, Any]]:
        """See :func:`coavt_mm.app.looking.captions`."""
        return self._done(looking.captions, self.index, self.model, clip, start)

    def drawing(self, clip: int, start: float, texts: Sequence[str] = ()) -> bytes:
        """See :func:`coavt_mm.app.looking.drawing`."""
        return self._done(looking.drawing, self.index, self.model, clip, start, texts)

    def points(
        self, method: str = 'PCA', label: str = '', question: Question | None = None
    ) -> dict[str, Any]:
        """See :meth:`coavt_mm.app.points.Map.points`.

        Args:
            method: See :func:`coavt_mm.app.points.flat`.
            label: Clips that have it stand out.
            question: Clips that fit it stand out, where there is no label.
        """
        clips = self._done(self.map.clips)
        places = self.map.places(clips, method)  # searches don't wait for it
        return self._done(self.map.points, clips, places, label, question)
