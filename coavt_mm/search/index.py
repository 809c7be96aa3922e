"""An index of clips: a folder with a catalogue, vectors, and a lock.

Letters: n windows, F frames, Q queries, E projected width.
"""

import fcntl
import hashlib
import json
import os
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coavt_mm.errors import InputError, SearchError
from coavt_mm.search.catalogue import Catalogue
from coavt_mm.search.rows import RowFile
from coavt_mm.search.stored import (
    About,
    check_files,
    check_store,
    making_sense,
    read_about,
    remember_store,
)
from coavt_mm.search.stores import EMBEDDED, VectorStore, open_store
from coavt_mm.streams import STREAMS

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer
    from coavt_mm.search.cluster import OnRay
    from coavt_mm.search.filters import Filters
    from coavt_mm.search.scanning import Plan
    from coavt_mm.search.writing import Report

CATALOGUE, LOCK = 'catalogue.sqlite', 'lock'


class Index:
    """Clips of a person, to be asked again and again.

    Several processes may ask while one writes. A writer that is stopped, at whatever
    moment, loses nothing that was committed: the next one goes on behind it.

    Args:
        folder: Of the index.

    Raises:
        SearchError: There is none, or it is damaged; or its store can't be opened.

    Attributes:
        settings: What it was made with: ``model`` (hash of the weights),
            ``checkpoint`` (path), ``width`` (E), ``shapes`` (stream -> (F, Q)),
            ``seconds``, ``hop`` (s; of the windows), ``store`` (address), ``name``.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(os.path.expanduser(folder))
        check_files(self.folder)
        self.catalogue = Catalogue(self.folder / CATALOGUE)
        self._checked: weakref.ref | None = None  # the model that it was asked with
        self._open()

    def _open(self) -> None:
        about = self._about()
        self.generation = about.generation
        self.settings: dict[str, Any] = about.settings
        self.width: int = self.settings['width']
        check_store(self.settings['store'], self.folder)
        self.store: VectorStore = open_store(
            self.settings['store'],
            self.folder,
            self.settings['name'],
            self.width,
            self.generation,
        )
        self.see()

    def _about(self) -> About:
        return read_about(self.catalogue.about(), self.folder)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        model: 'CoAVTInferencer',
        checkpoint: str | Path = '',
        store: str = EMBEDDED,
        overlap: float = 0.0,
    ) -> 'Index':
        """Make an index without clips.

        Args:
            folder: New, or empty.
            model: A CoAVT, with which all will be embedded.
            checkpoint: Where it is from; asking loads it from there.
            store: 'embedded', 'postgresql://...', or for Milvus 'http://...' or a file
                '....db'. Passwords are not written down: PostgreSQL takes them from
                PGPASSWORD or ~/.pgpass, Milvus from MILVUS_TOKEN.
            overlap: Share of a window that the next one repeats, 0 to 0.9.

        Raises:
            InputError: ``overlap`` or ``store`` is wrong.
            SearchError: There is something in the folder, or see above.
        """
        if not 0 <= overlap <= 0.9:
            raise InputError(f'overlap must be from 0 to 0.9, not {overlap}')
        model.require('contrastive_head', 'embed')
        if store.endswith('.db'):  # from wherever it is asked later
            store = os.path.abspath(os.path.expanduser(store))
        folder = Path(os.path.expanduser(folder))
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SearchError(f'{folder}: is there already; an index gets a new folder')
        settings = dict(
            model=model_hash(model),
            checkpoint=place(checkpoint, model),
            width=model.texts.embed(['a']).shape[-1],
            seconds=model.seconds,
            hop=model.seconds * (1 - overlap),
            store=store,
            name=uuid.uuid4().hex,
        )
        open_store(store, folder, settings['name'], settings['width'], 0).close()
        remember_store(store)
        folder.mkdir(parents=True, exist_ok=True)
        catalogue = Catalogue(folder / CATALOGUE, create=True)
        with catalogue.transaction():
            about = dict(settings=json.dumps(settings), shapes='{}', generation='0')
            catalogue.write_about(**about)
        catalogue.close()
        return cls(folder)

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()
        self.catalogue.close()

    def __enter__(self) -> 'Index':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -------------------------------------------------------------------- reading
    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Stream -> (F, Q), of those that are indexed."""
        return self._about().shapes

    def features(self, stream: str) -> RowFile | None:
        """The file with all queries' vectors; None where there is one only.

        Args:
            stream: 'AV', 'A' or 'V'.
        """
        frames, queries = self.shapes.get(stream, (1, 1))
        if frames * queries == 1:
            return None
        path = self.folder / f'{stream}.{self.generation}.queries'
        return RowFile(path, (frames, queries, self.width))

    def see(self) -> None:
        """Let the store find what the catalogue knows now."""
        self.version = self.catalogue.version
        self.store.see(self.catalogue.last_window, self.catalogue.dead())

    def refresh(self) -> None:
        """See what another process has written since."""
        if self.catalogue.version == self.version:
            return
        if self._about().generation == self.generation:
            self.see()
        else:
            self.store.close()
            self._open()

    def check_model(self, model: 'CoAVTInferencer') -> None:
        """Refuse a model that the index was not made with.

        Args:
            model: The model.

        Raises:
            SearchError: It is another one.
        """
        if self._checked is not None and self._checked() is model:
            return
        if model_hash(model) != self.settings['model']:
            made = self.settings['checkpoint'] or self.settings['model'][:12]
            raise SearchError(
                f'{self.folder}: was made with another model ({made}); ask with that '
                'one, or make an index with this one'
            )
        self._checked = weakref.ref(model)

    def info(self) -> dict[str, Any]:
        """Say what is in it.

        Returns:
            ``settings``, and ``clips``, ``failed``, ``removed``, ``windows``,
            ``seconds`` (of all clips), ``vectors`` (stream -> number, with the dead),
            ``dead``, ``bytes`` (of the folder), ``places``, ``labels`` (label ->
            clips), ``errors`` (path -> why), ``last`` (what was done last).
        """
        from coavt_mm.search.describing import describe

        with making_sense(self.folder):
            return describe(self)

    def query(
        self, model: 'CoAVTInferencer', text: str | None = None, **options: Any
    ) -> dict:
        """Search; see :func:`coavt_mm.search.asking.ask`.

        Args:
            model: That the index was made with.
            text: Words.
            **options: What else to search by, and how.
        """
        from coavt_mm.search.asking import ask

        with making_sense(self.folder):
            return ask(self, model, text, **options)

    def window_ids(
        self, filters: 'Filters | None' = None, streams: str = ''
    ) -> np.ndarray:
        """Ids (n,) of windows, ascending.

        Args:
            filters: That their clips pass; default: all do.
            streams: What ``windows.streams`` must be, in SQL; default: anything.
        """
        conditions, values = ([], []) if filters is None else filters.sql()
        query = 'SELECT windows.id FROM windows'
        if conditions:
            query += ' JOIN clips ON clips.id = windows.clip'
        if streams:
            conditions = [*conditions, f'windows.streams {streams}']
        if conditions:
            query += f' WHERE {" AND ".join(conditions)}'
        return self.catalogue.ids(f'{query} ORDER BY windows.id', values)

    # -------------------------------------------------------------------- writing
    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer; what a stopped one left half done is cleared away.

        Raises:
            SearchError: Another process writes, or the folder can't be written.
        """
        try:
            lock = open(self.folder / LOCK, 'w')  # noqa: SIM115  closed below
        except OSError as error:
            raise SearchError(f'{self.folder}: {error.strerror}') from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SearchError(
                    f'{self.folder}: another process writes to this index'
                ) from error
            with making_sense(self.folder):
                self.refresh()
                self._clear_away()
            try:
                yield
            finally:
                self.see()

    def _clear_away(self) -> None:
        last = self.catalogue.last_window
        self.store.restore(last, self.catalogue.dead())
        for stream in STREAMS:
            if file := self.features(stream):
                file.cut(last)
        for path in self.folder.iterdir():
            stem, *rest = path.name.split('.')
            is_old = stem in STREAMS and rest[0] != str(self.generation)
            if is_old or path.name.endswith('.part'):
                path.unlink()

    def add(
        self,
        model: 'CoAVTInferencer',
        places: Sequence[str | Path] = (),
        labels: Mapping[str, Sequence[str]] | None = None,
        batch_size: int = 16,
        workers: int = 2,
        on_plan: Callable[['Plan'], None] = lambda plan: None,
        on_clip: Callable[[dict], None] = lambda answer: None,
        embed: 'OnRay | None' = None,
    ) -> 'Report':
        """Bring the index up to date with folders, files and manifests.

        Args:
            model: That it was made with.
            places: Which; default: all that it was made of.
            labels: Labels of clips, by path from the folder on.
            batch_size: Windows that go through the model at once, and least that are
                committed at once.
            workers: Threads that read clips.
            on_plan: Is told what has to be done.
            on_clip: Is told of each clip that is embedded.
            embed: A cluster whose machines embed them; default: ``model`` does, here.

        Returns:
            What was done.

        Raises:
            SearchError: Another process writes, or the model is another one.
            ConfigError: There is no such cluster.
            InputError, DatasetMissingError, ManifestError: A place is wrong.
        """
        from coavt_mm.search.writing import add

        self.check_model(model)
        with self.writing():
            options = (labels or {}, batch_size, workers, on_plan, on_clip, embed)
            return add(self, model, places, *options)

    def remove(self, paths: Iterable[str | Path]) -> int:
        """Take clips out; a later ``add`` of their folder leaves them out as well.

        Args:
            paths: Files, or folders with all below them. They need not be there.

        Returns:
            How many clips.

        Raises:
            SearchError: One is of no clip, or another process writes.
        """
        from coavt_mm.search.writing import remove

        with self.writing():
            return remove(self, paths)

    def compact(self) -> int:
        """Give back the room of windows that are no more.

        Returns:
            Bytes that became free in the folder.
        """
        from coavt_mm.search.writing import compact

        with self.writing():
            return compact(self)

    @property
    def bytes(self) -> int:
        """Of the folder."""
        return sum(p.stat().st_size for p in self.folder.iterdir() if p.is_file())


def place(checkpoint: str | Path, model: 'CoAVTInferencer') -> str:
    """Where a checkpoint is, from wherever it is asked later; of a hub id its folder in
    the cache, so that an index names no server.

    Args:
        checkpoint: As it was named; empty where it has no file.
        model: That was loaded from it.
    """
    found = checkpoint and getattr(model.model, 'folder', checkpoint)
    return os.path.abspath(os.path.expanduser(found)) if found else ''


def model_hash(model: 'CoAVTInferencer') -> str:
    """What two models share only if their weights are equal.

    Args:
        model: The model, from a checkpoint of whatever form.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f'{name} {array.dtype} {tuple(array.shape)}'.encode())
        digest.update(array.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
