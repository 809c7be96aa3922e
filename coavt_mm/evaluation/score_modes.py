"""The scores that retrieval can rank by, each under its own name."""

import warnings
from collections.abc import Sequence

from torch import Tensor

from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import (
    count_ranks,
    dual_softmax_bias,
    log_sums,
    query_softmax,
)

MATCHING_MODES = ('matching', 'matching_only')
#: of the modes that look at all queries of the test: query_softmax has PE-AV's
TEMPERATURES = {'query_softmax': 0.1, 'softmax_product': 0.01}
MODES = ('cosine', *MATCHING_MODES, *TEMPERATURES)
#: old name -> new one; the old ones go with release 0.2
RENAMED = {'dual_softmax': 'softmax_product'}


def check_modes(modes: Sequence[str]) -> None:
    """Refuse unknown score modes, and warn of names that were given up.

    Raises:
        ConfigError: The message names the modes that there are.
    """
    unknown = set(modes) - {*MODES, *RENAMED}
    if unknown:
        raise ConfigError(f'unknown score modes {sorted(unknown)}; known: {MODES}')
    for old in sorted(set(modes) & set(RENAMED)):
        warnings.warn(
            f'the score mode {old!r} is called {RENAMED[old]!r} now, and {old!r} will '
            "go with the next release; PE-AV's and VALOR's dual softmax is "
            "'query_softmax'",
            FutureWarning,
            stacklevel=3,
        )


def temperatures(modes: Sequence[str], temperature: float | None) -> dict[str, float]:
    """Softmax mode -> its temperature, where ``temperature`` does not set it."""
    found = {mode: TEMPERATURES.get(RENAMED.get(mode, mode)) for mode in modes}
    return {
        mode: temperature or value for mode, value in found.items() if value is not None
    }


def softmax_ranks(
    features: StreamFeatures, mode: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Ranks (N,) text to clip and (G,) clip to text of a softmax mode.

    Args:
        features: One stream.
        mode: Of :data:`TEMPERATURES`, or an old name of one.
        temperature: Divides the similarities.
    """
    if mode == 'query_softmax':
        terms = log_sums(features, temperature)
        return count_ranks(features, *terms, query_softmax(temperature))
    return count_ranks(features, *dual_softmax_bias(features, temperature))
