"""What the command line calls: one file a sub-command, thin."""
