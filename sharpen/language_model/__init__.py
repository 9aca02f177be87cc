"""Language models behind an OpenAI-compatible API: requests that are concurrent, repeated, within a budget, never the
same one twice.
"""
