"""Who looks on while a model is trained: trackers, and what may end a training by its dev scores."""
