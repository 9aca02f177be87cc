"""Queries for documents that have none, written by a language model: training data from an unlabelled corpus."""
