"""Calls of the Kubeflow Pipelines API: where it is, who calls it, what it answers."""
