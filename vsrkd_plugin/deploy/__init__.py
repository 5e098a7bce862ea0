"""What becomes of a student: pictures, films, files for other runtimes."""
