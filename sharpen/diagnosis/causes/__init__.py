"""The causes, a function each: from a run's artifacts to a `Finding`, or None where they do not show it."""
