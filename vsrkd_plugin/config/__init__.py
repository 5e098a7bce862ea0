"""Options: loaded safely, validated as a whole, completed with defaults, checked against the files they name."""
