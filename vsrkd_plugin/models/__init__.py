"""BasicSR models: they wire the method into BasicSR's loop; thin."""
