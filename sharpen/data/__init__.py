"""What the bytes mean: data sets, texts, relevance."""
