"""Contrastive fine-tuning: the data, the step, the loop, checkpoints."""
