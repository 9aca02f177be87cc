"""The kinds of teacher, one a file."""
