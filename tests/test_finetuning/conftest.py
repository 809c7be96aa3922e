"""A checkpoint of a tiny model that carries its config."""

from api_fixtures import checkpoint  # noqa: F401
