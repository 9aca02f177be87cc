"""What else is looked at of one model: slices, forgetting, smaller vectors, passages that nobody judged."""
