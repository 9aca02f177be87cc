"""What mining tells of its work: figures, audits, the page."""
