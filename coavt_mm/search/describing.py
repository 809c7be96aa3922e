"""What is in an index, in numbers."""

import os
from datetime import datetime
from typing import Any

from coavt_mm.search.index import Index


def describe(index: Index) -> dict[str, Any]:
    """Do what :meth:`Index.info` says."""
    index.refresh()
    catalogue = index.catalogue
    query = 'SELECT state, count(*), total(seconds) FROM clips GROUP BY state'
    states = {row[0]: row[1:] for row in catalogue.rows(query)}
    there, seconds = states.get('there', (0, 0.0))
    settings = {k: v for k, v in index.settings.items() if k != 'name'}
    labels = 'SELECT label, count(*) FROM labels GROUP BY label ORDER BY 2 DESC, 1'
    errors = "SELECT path, error FROM clips WHERE state = 'failed' ORDER BY path"
    places = 'SELECT place, count(*) FROM clips WHERE place != path GROUP BY place'
    return dict(
        settings=settings,
        clips=there,
        failed=states.get('failed', (0,))[0],
        removed=states.get('removed', (0,))[0],
        windows=catalogue.value('SELECT count(*) FROM windows'),
        seconds=seconds,
        vectors={stream: index.store.count(stream) for stream in index.shapes},
        dead=len(catalogue.dead()),
        bytes=index.bytes,
        places={os.fsdecode(p): number for p, number in catalogue.rows(places)},
        labels=dict(catalogue.rows(labels)),
        errors={os.fsdecode(p): why for p, why in catalogue.rows(errors)},
        last=_last(index),
    )


def _last(index: Index) -> dict[str, Any] | None:
    query = 'SELECT action, begun, ended, clips, windows FROM journal'
    rows = index.catalogue.rows(f'{query} ORDER BY id DESC LIMIT 1')
    if not rows:
        return None
    action, begun, ended, clips, windows = rows[0]
    return dict(
        action=action,
        begun=datetime.fromtimestamp(begun).isoformat(' ', 'seconds'),
        finished=ended is not None,
        clips=clips,
        windows=windows,
    )
