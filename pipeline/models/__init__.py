"""`sharpen models`: the registry at the command line."""
