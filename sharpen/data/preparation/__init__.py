"""A user's files become a checked, merged and split data set."""
