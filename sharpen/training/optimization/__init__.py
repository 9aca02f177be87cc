"""How weights are optimised: settings of every loop, transformers' arguments, optimiser and schedule."""
