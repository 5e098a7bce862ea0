"""Data sets; each registers itself in BasicSR's DATASET_REGISTRY when imported."""
