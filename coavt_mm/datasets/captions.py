"""Captions that several clips carry."""

from collections import Counter
from collections.abc import Sequence

from coavt_mm.datasets.manifest import TEXT_KEYS
from coavt_mm.texts import normalise


def shared_captions(rows: Sequence[dict]) -> tuple[int, int]:
    """Texts that several clips carry in one field, and the clips that carry such.

    Args:
        rows: Rows of a manifest.

    Returns:
        Number of texts, and of rows.
    """
    carriers = Counter(text for row in rows for text in _texts(row))
    shared = {text for text, clips in carriers.items() if clips > 1}
    return len(shared), sum(not shared.isdisjoint(_texts(row)) for row in rows)


def _texts(row: dict) -> set[tuple[str, str]]:
    """(field, normalised caption) of a clip, each once."""
    return {
        (key, normalise(text)) for key in TEXT_KEYS[:3] for text in row.get(key) or ()
    }
