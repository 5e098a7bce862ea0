"""Losses of data-free distillation, one a file; each registers itself in BasicSR's LOSS_REGISTRY when imported."""
