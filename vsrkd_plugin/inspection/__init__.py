"""Finds out what a checkpoint of somebody else's is: its network, what it takes and gives, and what it restores."""
