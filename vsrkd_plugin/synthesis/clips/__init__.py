"""Pictures of a source set in motion that is known."""
