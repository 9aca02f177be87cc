"""Versions of a model, the champion, and what decides about it."""
