"""Training rows: built, drawn, tokenised and put into batches."""
