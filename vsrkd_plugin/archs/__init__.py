"""Networks, one a file; each registers itself in BasicSR's ARCH_REGISTRY when imported."""
