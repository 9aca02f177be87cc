"""Processes of this machine: how many cores they have, how they are started, and that none outlives its parent."""
