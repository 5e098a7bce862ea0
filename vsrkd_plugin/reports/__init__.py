"""What a training leaves for a person to read: `report.json`, `report.md`, `report.png` and a table in the log."""
