"""The exact gradient of a global batch, with the activations of only some of its texts in memory."""
