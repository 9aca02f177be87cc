"""What is searched: settings with the values that they may take."""
