"""Pure tensor functions: resize, blur, colour, precision."""
