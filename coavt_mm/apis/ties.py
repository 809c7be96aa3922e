"""One order for scores that differ in their last bits only."""

import numpy as np

from coavt_mm.evaluation.ranking import TIE_TOLERANCE


def tied_order(scores: np.ndarray, tolerance: float = TIE_TOLERANCE) -> np.ndarray:
    """Positions of scores, the best first; near-ties go by position.

    The last bits of a score depend on what is computed beside it, so the same clip
    twice need not get the same score twice. From the best down, all scores within
    ``tolerance`` of a group's best are a group, and stand in the order given. Hence two
    scores further apart than ``tolerance`` always stand in the order of the scores,
    and other last bits move none, unless one lies at the border of a group,
    ``tolerance`` below its best.

    Args:
        scores (np.ndarray): (n,); NaN comes last.
        tolerance (float): In units of the scores.

    Returns:
        np.ndarray: (n,) int64.
    """
    order = np.argsort(-scores, kind='stable')
    ranked, begin = scores[order], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or not ranked[begin] - ranked[end] <= tolerance:
            order[begin:end].sort()
            begin = end
    return order
