"""A text encoder: loading, configuration, pooling, prompts, tokenizing, batching."""
