"""Materials: rows of text read, cleaned, split and encoded."""
