"""Any SR network made to look alike: LR in, SR out, values in [0, 1]. In plain PyTorch; imports no BasicSR."""
