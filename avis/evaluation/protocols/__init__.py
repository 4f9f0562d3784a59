"""What implementations of the metrics differ in."""
