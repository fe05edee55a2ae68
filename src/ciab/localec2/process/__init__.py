"""Machines as process trees: an SSH server of ours, inside bubblewrap where that works. No root."""
