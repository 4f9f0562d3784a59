"""The metrics, as pure functions of counts and overlaps."""
