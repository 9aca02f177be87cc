"""What earlier runs of a model leave for the data of the next: what was held out, and what champions have seen."""
