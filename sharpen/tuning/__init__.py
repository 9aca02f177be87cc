"""Search for the settings of mining and training that give the best dev score."""
