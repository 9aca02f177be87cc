"""What a page and report.json say of the scores."""
