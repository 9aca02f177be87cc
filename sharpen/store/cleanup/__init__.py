"""What may go from a store: what runs that failed left, and which files lie there, with their ages."""
