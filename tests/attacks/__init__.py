"""Corpora of bad input: every command ends in one line, in time, with nothing created and nothing run."""
