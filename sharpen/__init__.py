"""Make a text-embedding model better at retrieval on your own data."""
