"""`flopwatch check`: what the numbers rest on, proved on this machine. A file for each group of lines."""
