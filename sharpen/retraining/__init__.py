"""Whether there is anything new to train on since the last run."""
