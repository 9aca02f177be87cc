"""What a run does on a real cluster, and how soon its user is told: `make test-cluster`."""
