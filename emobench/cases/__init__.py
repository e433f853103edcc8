"""Cases: one case while it runs: its clock, metrics, notes and files. It knows no kind and no session."""
