"""Where and why an evaluation's predictions are wrong."""
