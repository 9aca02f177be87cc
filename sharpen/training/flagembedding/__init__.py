"""FlagEmbedding's arguments: its dataclasses, what they mean here, and the special tokens that they add."""
