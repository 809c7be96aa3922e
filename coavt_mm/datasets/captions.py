"""When are two captions the same?"""

from collections import defaultdict
from collections.abc import Sequence

from coavt_mm.datasets.manifest import TEXT_KEYS


def normalise(text: str) -> str:
    """Captions that differ in case or spaces only are the same caption."""
    return ' '.join(text.lower().split())


def shared_captions(rows: Sequence[dict]) -> tuple[int, int]:
    """Texts that several clips carry in one field, and the clips that carry such.

    Args:
        rows (Sequence[dict]): Rows of a manifest.

    Returns:
        tuple: Number of texts, and of rows.
    """
    carriers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, row in enumerate(rows):
        for key in TEXT_KEYS[:3]:
            for text in row.get(key) or ():
                carriers[key, normalise(text)].add(number)
    shared = [numbers for numbers in carriers.values() if len(numbers) > 1]
    return len(shared), len(set().union(*shared))
