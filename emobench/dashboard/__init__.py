"""The live page over saved runs: what it shows, how it looks, and the server that shows it on this machine alone."""
