"""The student's start from its teacher: channels chosen, layers refitted by least squares."""
