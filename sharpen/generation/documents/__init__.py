"""Documents of several formats as passages with titles."""
