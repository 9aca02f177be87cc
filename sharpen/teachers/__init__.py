"""Scores of positives and negatives by a teacher: a cross-encoder, a larger embedding model or a language model."""
