"""What surrounds a run: checkpoints, its record, interruption, the allocator, the weights in the package."""
