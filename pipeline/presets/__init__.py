"""Presets: settings for a kind of data or model, a YAML file each, and the choice among them."""
