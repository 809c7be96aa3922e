"""The tiny models, and a small training."""

from api_fixtures import checkpoint, classifier, coavt, short  # noqa: F401
from small_runs import data  # noqa: F401
