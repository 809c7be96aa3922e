"""Shards: clips decoded once and packed into tar files."""
