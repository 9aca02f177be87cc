"""What a trial does, and where."""
