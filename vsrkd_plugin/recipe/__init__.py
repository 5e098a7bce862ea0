"""What is proposed to those who name a teacher and nothing else: a student, how to train it, and for how long."""
