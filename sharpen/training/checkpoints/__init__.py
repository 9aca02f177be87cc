"""A run's checkpoints: what is in them, where they are, and their copy in a store."""
