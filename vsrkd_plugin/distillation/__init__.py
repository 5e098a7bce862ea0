"""The method, in plain PyTorch: teacher, student's start, growth, steps. Imports no BasicSR."""
