"""How good, how quick and how safe a search index is."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coavt_mm.apis import load_model
from coavt_mm.datasets.manifest import find_manifest, iter_manifest
from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation.moments import moment_scores
from coavt_mm.models.similarity import similarity, tied_order
from coavt_mm.search import Index
from coavt_mm.search.filters import Filters
from coavt_mm.search.stores import EMBEDDED, VectorStore, open_store

HITS = 10
QUERIES = 200


def check_recall(index_dir: str | Path, manifest: str | Path) -> dict[str, float]:
    """Ask an index with the captions of its own clips.

    Args:
        index_dir: Of the manifest's clips, each of one window.
        manifest: With ``captions``.

    Returns:
        Shares in per cent: ``R@1`` and ``R@10`` of the index, ``exact R@1`` of the
        cosine with all queries of all windows, ``top-10 kept``: those of its ten best
        that are among the ten of the index; and ``difference``, the greatest between
        a score of the index and the cosine.
    """
    with Index(index_dir) as index:
        model = load_model(index.settings['checkpoint'], show_progress=False)
        rows = list(iter_manifest(find_manifest(manifest), Path(manifest).parent))
        asked = [(os.path.abspath(r['clip_path']), r['captions'][0]) for r in rows]
        names, features = _all_features(index)
        texts = model.texts.embed([caption for _, caption in asked])
        exact = similarity(texts, features).numpy()
        first: list[tuple[bool, bool, bool]] = []
        kept, worst = [], 0.0
        for (path, caption), scores in zip(asked, exact, strict=True):
            hits = index.query(model, caption, topk=HITS)['hits']
            found = [hit['clip'] for hit in hits]
            best = [names[i] for i in tied_order(scores)[:HITS]]
            first.append((found[0] == path, path in found, best[0] == path))
            kept.append(len({*best} & {*found}) / len(best))
            own = dict(zip(names, scores, strict=True))
            gaps = [abs(own[hit['clip']] - hit['similarity']) for hit in hits]
            worst = max(worst, *gaps)
    right, among, right_exact = 100 * np.mean(first, 0)
    return {
        'R@1': float(right),
        'R@10': float(among),
        'exact R@1': float(right_exact),
        'top-10 kept': 100 * float(np.mean(kept)),
        'difference': float(worst),
    }


def _all_features(index: Index) -> tuple[list[str], np.ndarray]:
    """The path and the features (F, Q, E) of each window's fullest stream, AV."""
    query = 'SELECT windows.id, path FROM windows JOIN clips ON clips.id = clip'
    rows = sorted(index.catalogue.rows(query))
    file: Any = index.features('AV')
    features = file.read(np.array([row[0] for row in rows])).astype(np.float32)
    return [os.fsdecode(path) for _, path in rows], features


def check_moments(index_dir: str | Path, moments: str | Path) -> dict[str, float]:
    """Ask for moments in long clips whose times are known.

    Args:
        index_dir: Of the long clips.
        moments: From :func:`coavt_mm.demo.gluing.glue_clips`.

    Returns:
        Scores of ``MomentMetric`` within the right clip, and, with 'anywhere ' before
        them, where all clips are asked.
    """
    path = Path(moments)
    rows = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
    true = [[(row['start'], row['end'])] for row in rows]
    scores: dict[str, float] = {}
    with Index(index_dir) as index:
        model = load_model(index.settings['checkpoint'], show_progress=False)
        for prefix in ('', 'anywhere '):
            found = []
            for row in rows:
                clip = os.path.abspath(path.parent / row['clip'])
                filters = None if prefix else Filters(folders=(clip,))
                options: dict[str, Any] = dict(moments=True, filters=filters)
                hits = index.query(model, row['caption'], **options)['hits']
                # in another clip it is at no time of this one
                spans = [(h['start'], h['end']) if h['clip'] == clip else (-2, -1)
                         for h in hits]  # fmt: skip
                found.append(spans)
            each = moment_scores(found, true)
            scores |= {prefix + name: value for name, value in each.items()}
    return scores


def check_kills(
    places: list[str], checkpoint: str, kills: int = 20, seed: int = 0
) -> dict[str, int]:
    """Kill indexing again and again, and compare with an index that nobody killed.

    Args:
        places: Of the clips.
        checkpoint: The model.
        kills: So often SIGKILL comes, at random times.
        seed: Of the times.

    Returns:
        ``kills`` (fewer where the clips do not last), ``clips``, ``lost`` (of clips
        that were committed before a kill, or that a whole index has), ``different``
        (vectors), ``most repeated`` (windows that were embedded anew after a kill,
        beyond those that were committed) and ``leftover`` (records behind the last
        one).
    """
    rng, most, lost = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / 'whole', Path(folder) / 'killed'
        begun = time.monotonic()
        _indexing(places, whole, checkpoint).wait()
        seconds, total = time.monotonic() - begun, len(_paths(whole))
        done: set[bytes] = set()
        count = 0
        while count < kills:
            process = _indexing(places, killed, checkpoint)
            start = _wait_for_work(killed, len(done), process)
            # so that each of the kills that are left finds work; the first batch of
            # each start is done by now
            share = (1 - len(_paths(killed)) / total) / (kills - count) / 3
            time.sleep(rng.uniform(0, max(0.0, seconds - start) * share))
            if process.poll() is not None:
                break  # all is done
            process.send_signal(signal.SIGKILL)
            process.wait()
            count += 1
            now = _paths(killed)
            lost += len(done - now)
            most = max(most, _beyond(killed))
            done = now
        _indexing(places, killed, checkpoint).wait()
        with Index(whole) as a, Index(killed) as b:
            different = sum(_differ(a, b, stream) for stream in a.shapes)
            lost += len(_paths(whole) - _paths(killed))
            left = sum(b.store.count(s) - a.store.count(s) for s in a.shapes)
    return {
        'kills': count,
        'clips': len(done),
        'lost': lost,
        'different': different,
        'most repeated': most,
        'leftover': left,
    }


def _indexing(places: list[str], out: Path, checkpoint: str) -> subprocess.Popen:
    command = [sys.executable, '-W', 'ignore', '-m', 'coavt_mm', 'search', 'index']
    options = ['--out', str(out), '--checkpoint', checkpoint]
    quiet: dict[str, Any] = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.Popen([*command, *places, *options], **quiet)


def _wait_for_work(folder: Path, done: int, process: subprocess.Popen) -> float:
    """Until something is committed, or all is; returns how long that was, in s."""
    begun = time.monotonic()
    while process.poll() is None and len(_paths(folder)) <= done:
        time.sleep(0.02)
    return time.monotonic() - begun


def _paths(folder: Path) -> set[bytes]:
    try:
        with Index(folder) as index:
            return {row[0] for row in index.catalogue.rows('SELECT path FROM clips')}
    except (CoAVTError, KeyError):  # it is just being made
        return set()


def _beyond(folder: Path) -> int:
    """Records behind those that the catalogue knows: what is embedded again."""
    with Index(folder) as index:
        file = getattr(index.store, 'files', {}).get('AV')
        known = index.catalogue.value('SELECT count(*) FROM windows')
        return file.count - known if file else 0


def _differ(a: Index, b: Index, stream: str) -> int:
    """How many clips have other vectors in the one index than in the other."""
    tables = []
    for index in (a, b):
        file: Any = index.features(stream)
        query = 'SELECT windows.id, path, start FROM windows JOIN clips ON clips.id = '
        rows = index.catalogue.rows(query.replace('start', 'windows.start') + 'clip')
        features = file.read(np.array([row[0] for row in rows])).astype(np.float32)
        tables.append(dict(zip([row[1:] for row in rows], features, strict=True)))
    first, second = tables
    if first.keys() != second.keys():
        return max(len(first), len(second))
    # another batch mate moves the last bits
    return sum(bool(abs(first[k] - second[k]).max() > 2e-3) for k in first)


# --------------------------------------------------------------------------------------
# A million vectors
# --------------------------------------------------------------------------------------
def _drawn(
    count: int, width: int, clusters: int, seed: int = 0
) -> Iterator[np.ndarray]:
    """Unit vectors (n, E), in parts; random ones where there are no clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((clusters, width), np.float32)
    for begin in range(0, count, 50_000):
        part = rng.standard_normal((min(50_000, count - begin), width), np.float32)
        if clusters:
            part = centres[rng.integers(0, clusters, len(part))] + 0.5 * part
        yield part / np.linalg.norm(part, axis=1, keepdims=True)


def check_speed(
    count: int = 1_000_000,
    width: int = 256,
    clusters: int = 10_000,
    address: str = EMBEDDED,
) -> dict[str, float]:
    """Build a store of so many vectors, and compare its answers with exact search.

    Args:
        count: Vectors.
        width: E.
        clusters: Around so many centres, at half their length; 0: random vectors.
        address: Of the store.

    Returns:
        ``write s``, ``build s``, ``MB`` (of the folder), ``median ms`` and ``recall``
        (of the ten best), ``filter ms`` and ``filter recall`` (1 % to choose from),
        ``open s`` (till the first answer of a process).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        store = open_store(address, path, 'speed', width, 0)
        store.restore(0, ())
        begun, last = time.monotonic(), 0
        for part in _drawn(count, width, clusters):
            store.add('AV', np.arange(last, last + len(part)) + 1, part)
            last += len(part)
        written = time.monotonic()
        store.prepare()
        built = time.monotonic()
        size = sum(file.stat().st_size for file in path.iterdir())
        found = dict(_timed(store, count, width, clusters))
        store.close()
        begun_again = time.monotonic()
        store = open_store(address, path, 'speed', width, 0)
        store.search('AV', next(_drawn(1, width, 0))[0], HITS)
        opened = time.monotonic() - begun_again
        store.drop()
        store.close()
    times = {'write s': written - begun, 'build s': built - written}
    return times | {'MB': size / 1e6} | found | {'open s': opened}


def _timed(
    store: VectorStore, count: int, width: int, clusters: int
) -> Iterator[tuple[str, float]]:
    (queries,) = _drawn(QUERIES, width, clusters, seed=2)
    some = np.sort(np.random.default_rng(3).choice(count, max(1, count // 100), False))
    for prefix, among in (('', None), ('filter ', some + 1)):
        true = _exact(queries, count, width, clusters, among)
        times, kept = [], []
        for query, best in zip(queries, true, strict=True):
            begun = time.perf_counter()
            ids, _ = store.search('AV', query, HITS, among)
            times.append(time.perf_counter() - begun)
            kept.append(len({*ids.tolist()} & {*best.tolist()}) / len(best))
        yield f'{prefix or "median "}ms', 1e3 * float(np.median(times))
        yield f'{prefix}recall', float(np.mean(kept))


def _exact(
    queries: np.ndarray,
    count: int,
    width: int,
    clusters: int,
    among: np.ndarray | None,
) -> np.ndarray:
    """Ids of the ten best (n, 10)."""
    ids = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    begin = 0
    for part in _drawn(count, width, clusters):
        numbers = np.arange(begin, begin + len(part)) + 1
        begin += len(part)
        if among is not None:
            chosen = np.isin(numbers, among)
            numbers, part = numbers[chosen], part[chosen]
        part = part.astype(np.float16).astype(np.float32)
        scores = np.concatenate([scores, queries @ part.T], 1)
        ids = np.concatenate([ids, np.tile(numbers, (len(queries), 1))], 1)
        best = np.argsort(-scores, axis=1)[:, :HITS]
        ids = np.take_along_axis(ids, best, 1)
        scores = np.take_along_axis(scores, best, 1)
    return ids
