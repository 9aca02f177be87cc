"""Retrieval data from Python code: which files, and which pairs in them."""
