"""Commands: what the verbs of the command line do. They return text or an exit code; the app prints and exits."""
