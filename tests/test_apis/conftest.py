"""The tiny models."""

from api_fixtures import checkpoint, classifier, coavt, short  # noqa: F401
