"""Encoding on several processes of this machine: how many, the request to them, and what each does."""
