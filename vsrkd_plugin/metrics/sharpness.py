"""How sharp images are, without a reference."""

from torch import Tensor

from vsrkd_plugin.ops.pyramid import laplacian


def sharpness(x: Tensor) -> Tensor:
    """RMS of the Laplacian of each image, its border left out.

    Args:
        x: `(n, c, h, w)`, sides of at least 3.

    Returns:
        `(n,)`, in the units of `x`.
    """
    return laplacian(x.float()).square().mean((1, 2, 3)).sqrt()
