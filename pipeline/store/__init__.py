"""The embedded S3 store of a laptop."""
