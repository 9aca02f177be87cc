"""The model card of a trained model: sections, use in other libraries, cost and emissions."""
