"""Work: time and memory of a call."""
