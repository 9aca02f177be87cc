"""What mining reports of its work: figures, audits, the page."""
