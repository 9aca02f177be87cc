"""What training changes about a model before the first step, and what it writes after the last."""
