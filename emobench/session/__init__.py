"""Session: one pytest session: settings, cases that were collected, journal, gate, the run that is saved."""
