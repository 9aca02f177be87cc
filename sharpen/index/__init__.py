"""Vectors to neighbours: exact and approximate search, the files of an index."""
