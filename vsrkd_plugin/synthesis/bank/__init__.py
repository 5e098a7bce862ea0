"""Inputs kept with the teacher's outputs: in memory during a training, or on disk."""
