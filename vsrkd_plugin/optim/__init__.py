"""Optimisers. In plain PyTorch; imports no BasicSR."""
