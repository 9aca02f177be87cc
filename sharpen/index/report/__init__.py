"""The report of an index: how well it finds, and the page that says so and how a query is asked."""
