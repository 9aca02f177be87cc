"""How good a model is: metrics, significance, comparison."""
