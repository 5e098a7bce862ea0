"""Files for other runtimes: one target a file, each takes an `Exportable` and a path and writes a checked file."""
