"""Requests to an endpoint: concurrent, repeated, within a budget, never the same one twice."""
