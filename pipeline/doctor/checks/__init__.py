"""Checks of `sharpen doctor`: a module each, whose function `check` yields findings."""
