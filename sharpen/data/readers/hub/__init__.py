"""Data that the Hugging Face hub has: its data sets, and the tasks of MTEB."""
