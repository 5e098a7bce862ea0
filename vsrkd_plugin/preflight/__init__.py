"""Builds and tries what the options name, before anything is created."""
