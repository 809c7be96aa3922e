"""Encoders of others, with their own weights and their own preparation of inputs."""
