"""How many texts of a data set are longer than a model reads."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from coavt_mm.streams import CAPTION_FIELDS
from coavt_mm.texts import fill_templates

LOOKED_AT = 2_000  # clips of a data set


def cut_texts(dataset: Any) -> str:
    """Say which share of the texts loses its end.

    Args:
        dataset: Whose pipelines tokenise; one that is made of others, too.

    Returns:
        A line; '' for a data set without texts.
    """
    long = texts = looked_at = clips = 0
    limits: set[int] = set()
    for part in parts_of(dataset):
        steps = [*steps_of(getattr(part, 'pipeline', None))]
        pickers = [s for s in steps if hasattr(s, 'fields') and hasattr(s, 'templates')]
        cutters = [s for s in steps if hasattr(s, 'rules') and hasattr(s, 'max_tokens')]
        if not pickers or not cutters:
            continue
        rows = range(0, len(part), -(-len(part) // LOOKED_AT))
        found = [t for i in rows for t in texts_of(part.get_data_info(i), pickers[0])]
        lengths = [len(e.ids) for e in cutters[0].rules.encode_batch(found)]
        long += sum(length > cutters[0].max_tokens for length in lengths)
        texts, limits = texts + len(lengths), limits | {cutters[0].max_tokens}
        looked_at, clips = looked_at + len(rows), clips + len(part)
    if not texts:
        return ''
    limit = f'max_tokens={" or ".join(map(str, sorted(limits)))}'
    part_of = f' (of {looked_at:,} of {clips:,} clips)' if looked_at < clips else ''
    if not long:
        return f'none of {texts:,}{part_of} is longer than {limit}'
    share = 100 * long / texts
    per_cent = f'{share:.0f}' if share >= 1 else f'{share:.1g}'
    return f'{long:,} of {texts:,}{part_of}, {per_cent} %, are cut at {limit}'


def parts_of(dataset: Any) -> Iterator[Any]:
    """The data sets that one is made of; itself, if of none."""
    names = ('datasets', 'dataset', '_dataset')  # of mmengine's wrappers
    own = getattr(dataset, '__dict__', {})
    inner = next((own[name] for name in names if name in own), None)
    if inner is None:
        yield dataset
        return
    for part in inner if isinstance(inner, list | tuple) else [inner]:
        yield from parts_of(part)


def steps_of(step: Any) -> Iterator[Any]:
    """A pipeline's transforms, and those within them."""
    inner = getattr(step, 'transforms', None)
    if isinstance(inner, list | tuple):
        for part in inner:
            yield from steps_of(part)
    elif inner is not None:
        yield from steps_of(inner)
    else:
        yield step


def texts_of(row: dict, picker: Any) -> list[str]:
    """The captions of a row that a transform may take, else those of its labels.

    Args:
        row: Of a data set.
        picker: ``PickCaption`` or ``AllCaptions``.
    """
    fields = [f for f in picker.fields if f in CAPTION_FIELDS]
    found = [*chain.from_iterable(row.get(field) or () for field in fields)]
    return found or fill_templates(picker.templates, row.get('labels') or [])
