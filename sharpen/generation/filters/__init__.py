"""Which of the generated queries are good enough to train on."""
