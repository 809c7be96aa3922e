"""What retrieval can reach at best where several clips carry the same text.

No model can tell equal texts apart. If only the clip that a text was written for
counts, the clips that share a text stand behind each other, and the texts of other
clips tie with the own one. If every clip that carries the text is right, all can be
first.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from coavt_mm.evaluation.metric import ARROWS, cells, draw_table
from coavt_mm.evaluation.ranking import recall_summary
from coavt_mm.texts import normalise

#: Which answers are right, and how tables say it.
RULES = {'own_clip': 'own clip is right', 'equal_texts': 'equal texts are right'}


def shared_texts(texts: Sequence[Sequence[str]]) -> dict[str, int]:
    """How many captions other clips carry, too.

    Args:
        texts: The captions of each clip.

    Returns:
        ``captions``, ``distinct`` texts among them, captions that are ``shared`` with
        another clip, and the ``most_clips`` that carry one text.
    """
    carried = [Counter(map(normalise, group)) for group in texts]
    clips = Counter(text for group in carried for text in group)
    shared = sum(n for group in carried for text, n in group.items() if clips[text] > 1)
    return {
        'captions': sum(group.total() for group in carried),
        'distinct': len(clips),
        'shared': shared,
        'most_clips': max(clips.values(), default=0),
    }


def text_ceilings(texts: Sequence[Sequence[str]]) -> dict[str, dict[str, dict]]:
    """Highest recalls, lowest ranks that captions allow under either rule.

    A model may know all but what equal texts hide: equal texts have equal features, and
    captions that tie with the own one count against it.

    Args:
        texts: The captions of each clip; clips without any are in the gallery only.

    Returns:
        Rule of :data:`RULES` -> 'text_to_clip' and 'clip_to_text' -> R@1, R@5, R@10 in
        per cent, MedR and MeanR; {} where there is no caption.
    """
    carried = [Counter(map(normalise, group)) for group in texts if group]
    if not carried:
        return {}
    by_text: dict[str, list[int]] = {}
    for group in carried:
        for text, number in group.items():
            by_text.setdefault(text, []).append(number)
    totals = {text: sum(numbers) for text, numbers in by_text.items()}
    # the clips of a text one behind the other, those with most captions of it first
    forward = [
        rank
        for numbers in by_text.values()
        for rank, number in enumerate(sorted(numbers, reverse=True), start=1)
        for _ in range(number)
    ]
    # a clip asks with the caption that the fewest others share
    backward = [
        1 + min(totals[text] - number for text, number in group.items())
        for group in carried
    ]
    reached = {
        'own_clip': (forward, backward),
        'equal_texts': ([1] * len(forward), [1] * len(backward)),
    }
    return {
        rule: {
            direction: recall_summary(torch.tensor(ranks))
            for direction, ranks in zip(
                ('text_to_clip', 'clip_to_text'), both, strict=True
            )
        }
        for rule, both in reached.items()
    }


def say_shared(numbers: dict[str, int]) -> str:
    """One sentence of :func:`~coavt_mm.evaluation.text_ceilings.shared_texts`."""
    said = '{captions} captions, {distinct} distinct texts'.format(**numbers)
    if not numbers['shared']:
        return f'{said}, none of several clips.'
    shared = '{shared} captions are of several clips, of up to {most_clips}.'
    return f'{said}; {shared.format(**numbers)}'


def ceilings_table(ceilings: dict[str, dict]) -> str:
    """What equal texts allow at best, a row a rule, direction and stream.

    Args:
        ceilings: Stream -> what
            :func:`~coavt_mm.evaluation.text_ceilings.text_ceilings` gives.
    """
    names = ['R@1', 'R@5', 'R@10', 'MedR', 'MeanR']
    rows = [
        [RULES['own_clip'], ARROWS[direction], stream, *cells(summary, names)]
        for stream, rules in ceilings.items()
        for direction, summary in rules['own_clip'].items()
    ]
    best = next(iter(ceilings.values()))['equal_texts']['text_to_clip']
    rows.append([RULES['equal_texts'], 'both', 'all', *cells(best, names)])
    return draw_table(['ceiling of the texts', 'direction', 'stream', *names], rows)
