"""Is a cluster ready for the pipeline with these settings? `sharpen doctor`."""
