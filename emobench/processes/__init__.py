"""Processes: a fresh process, what of the machine it may use, and how it died. Knows no model and no case."""
