"""What makes a CPU or GPU fast, chosen by measurement."""
