"""Tables with named columns, whatever file they stand in: which column is what, and what rows mean."""
