"""Why is my model no better? What the artifacts of a run say about it, each likely cause with the setting to change."""
