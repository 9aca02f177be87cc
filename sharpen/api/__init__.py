"""The public functions: what the steps of the pipeline do, for Python.

Data, models and results are objects or addresses (a folder, ``s3://``, for a model also a hub id). Settings are those
of the steps, by name; an unknown or impossible one is an `InputError` before any work starts.
"""
