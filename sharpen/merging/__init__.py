"""Merging: several models of one architecture become one, weight by weight."""
