"""Which queries are shown: by rule, so that nobody can think they were picked."""

from collections.abc import Sequence


def _spread(length: int, number: int) -> list[int]:
    """At most ``number`` positions, evenly spaced over range(length), with both ends.

    Args:
        length: Of what is chosen from.
        number: How many.
    """
    number = min(number, length)
    if number < 2:
        return list(range(number))
    return [i * (length - 1) // (number - 1) for i in range(number)]


def over_all_ranks(ranks: Sequence[int], number: int) -> list[int]:
    """Queries from the best to the worst one, evenly spaced in the order of ranks.

    Args:
        ranks: Of all queries.
        number: How many are wanted.

    Returns:
        Positions in ``ranks``, best first.
    """
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    return [order[i] for i in _spread(len(order), number)]


def best_and_worst(ranks: Sequence[int], number: int) -> tuple[list[int], list[int]]:
    """Queries that went best and worst; none is both.

    Where more queries than wanted share a rank, they are taken evenly spaced.

    Args:
        ranks: Of all queries.
        number: How many of each are wanted.

    Returns:
        Positions in ``ranks``: the best ones, best first, and the worst ones, worst
        first.
    """
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    half = -(-len(order) // 2)
    best = _first(order[:half], ranks, number)
    worst = _first(order[half:][::-1], ranks, number)
    return best, worst


def _first(order: list[int], ranks: Sequence[int], number: int) -> list[int]:
    """The first of an order, those of the last rank among them evenly spaced."""
    if len(order) <= number:
        return order
    last = ranks[order[number - 1]]
    sure = [i for i in order[:number] if ranks[i] != last]
    tied = [i for i in order if ranks[i] == last]
    return sure + [tied[i] for i in _spread(len(tied), number - len(sure))]
