"""The Kubernetes API: calls, rights, and what is seen of a job while it runs."""
