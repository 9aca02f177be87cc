"""`sharpen explain`: which run, and what is printed of its causes."""
