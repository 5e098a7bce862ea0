"""Where training inputs come from when there are none. In plain PyTorch; imports no BasicSR."""
