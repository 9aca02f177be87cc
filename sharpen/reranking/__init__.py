"""Cross-encoders: models that read query and passage together and score the pair."""
