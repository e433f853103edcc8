"""Evidence: one case's record, the run it belongs to, and where they are kept."""
