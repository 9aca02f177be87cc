"""The steps of a run as the API shows them, and what their logs and pods say."""
