"""The tiny models."""

from api_fixtures import checkpoint, classifier, coavt  # noqa: F401
