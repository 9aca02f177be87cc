"""`sharpen doctor`: is a cluster ready for the pipeline with these settings?"""
