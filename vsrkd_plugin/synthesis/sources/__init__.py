"""Sources of training inputs."""
