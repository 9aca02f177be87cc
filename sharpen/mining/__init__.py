"""Hard negatives: candidates, rules, rescoring, selection, statistics."""
