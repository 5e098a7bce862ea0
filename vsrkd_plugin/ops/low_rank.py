"""Convolutions of low rank: a thin pair in the place of a k x k one, all channels kept."""

import torch
from torch import Tensor, nn


def check_rank(rank: object, most: int) -> None:
    """Refuse what is no rank of a convolution.

    Raises:
        ValueError: no whole number, below 1 or above `most`.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
        raise ValueError(f'rank must be a whole number from 1 to {most}, got {rank!r}')


class LowRankConv(nn.Sequential):
    """A (k x 1) convolution to `rank` channels, then a (1 x k) one, with nothing between: a k x k convolution whose
    matrix, (outputs, columns) x (inputs, rows), has no higher rank (Jaderberg et al., BMVC 2014, scheme 2).

    The bias is the second one's.

    Args:
        in_channels, out_channels, kernel_size: of the convolution that it stands for; stride 1, padded to keep its
            input's size.
        rank: channels between; 1 to `kernel_size` times the smaller of the two others.
        bias: whether it has one.

    Raises:
        ValueError: a number below 1, a rank above that, or a kernel of an even size.
    """

    def __init__(self, in_channels: int, out_channels: int, rank: int, kernel_size: int = 3, bias: bool = True) -> None:
        check_rank(rank, kernel_size * min(in_channels, out_channels))
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        around = kernel_size // 2
        super().__init__(
            nn.Conv2d(in_channels, rank, (kernel_size, 1), padding=(around, 0), bias=False),
            nn.Conv2d(rank, out_channels, (1, kernel_size), padding=(0, around), bias=bias),
        )
        self.in_channels, self.out_channels, self.rank = in_channels, out_channels, rank

    @property
    def first(self) -> nn.Conv2d:
        """The (k x 1) convolution."""
        layer = self[0]
        assert isinstance(layer, nn.Conv2d)
        return layer

    @property
    def second(self) -> nn.Conv2d:
        """The (1 x k) convolution."""
        layer = self[1]
        assert isinstance(layer, nn.Conv2d)
        return layer

    @property
    def weight(self) -> Tensor:
        """Of the one convolution that does the same: `(out_channels, in_channels, k, k)`."""
        return torch.einsum('orx,riy->oiyx', self.second.weight[:, :, 0], self.first.weight[..., 0])

    @property
    def bias(self) -> Tensor | None:
        """The bias, if there is one."""
        return self.second.bias

    @torch.no_grad()
    def set_weight(self, weight: Tensor, importance: Tensor | None = None) -> None:
        """Take the nearest weight of this rank.

        Args:
            weight: `(out_channels, in_channels, k, k)`.
            importance: of what is read, `(in_channels * k, in_channels * k)`: the mean of the outer product of the
                column of `k` pixels, all channels of each, that the first convolution reads. The pair is nearest in the
                mean squared output, columns of the kernel by themselves; without it, in the weights.
        """
        out, channels, k, _ = weight.shape
        matrix = weight.double().permute(0, 3, 1, 2).reshape(out * k, channels * k)
        if importance is None:
            root = inverse = torch.eye(channels * k, dtype=torch.float64, device=weight.device)
        else:
            values, vectors = torch.linalg.eigh(importance.double())
            values = values.clamp_min(1e-6 * float(values[-1]) + torch.finfo(torch.float64).tiny).sqrt()
            root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
        left, size, right = torch.linalg.svd(matrix @ root, full_matrices=False)
        left, size, right = left[:, : self.rank], size[: self.rank], right[: self.rank] @ inverse
        self.second.weight.copy_((left * size).reshape(out, k, self.rank).permute(0, 2, 1)[:, :, None])
        self.first.weight.copy_(right.reshape(self.rank, channels, k)[..., None])
        self.balance()

    @torch.no_grad()
    def balance(self) -> None:
        """Give both halves the same norm, channel between by channel between; what they compute stays."""
        first = self.first.weight.flatten(1).norm(dim=1)
        second = self.second.weight.transpose(0, 1).flatten(1).norm(dim=1)
        factor = torch.where(
            (first > 0) & (second > 0), (second / first.clamp_min(1e-30)).sqrt(), torch.ones_like(first)
        )
        self.first.weight.mul_(factor[:, None, None, None])
        self.second.weight.div_(factor[None, :, None, None])

    def merged(self) -> nn.Conv2d:
        """The one convolution that does the same."""
        size = self.second.kernel_size[1]
        layer = nn.Conv2d(self.in_channels, self.out_channels, size, padding=size // 2, bias=self.bias is not None).to(
            self.first.weight
        )
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            if layer.bias is not None and self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


Layer = nn.Conv2d | LowRankConv  # a convolution, whole or as a pair


@torch.no_grad()
def set_weight(layer: Layer, weight: Tensor) -> None:
    """Have a layer's weight, `(out_channels, in_channels, k, k)`, or of a pair the nearest one of its rank."""
    if isinstance(layer, LowRankConv):
        layer.set_weight(weight)
    else:
        layer.weight.copy_(weight)


def lower_rank(network: nn.Module, rank: int) -> int:
    """Put a `LowRankConv` of a rank in the place of each convolution of a network that has more weights than it.

    Only such of more than `rank` channels that keep their input's size (odd square kernels, stride 1, one group, padded
    with zeros) are replaced; weights become the nearest of that rank.

    Returns:
        How many were replaced.
    """
    count = 0
    for name, module in list(network.named_children()):
        if isinstance(module, LowRankConv):
            continue
        if isinstance(module, nn.Conv2d) and _gains(module, rank):
            pair = LowRankConv(
                module.in_channels, module.out_channels, rank, module.kernel_size[0], module.bias is not None
            ).to(module.weight)
            pair.set_weight(module.weight)
            if module.bias is not None and pair.bias is not None:
                with torch.no_grad():
                    pair.bias.copy_(module.bias)
            setattr(network, name, pair)
            count += 1
        else:
            count += lower_rank(module, rank)
    return count


def _gains(layer: nn.Conv2d, rank: int) -> bool:
    k = layer.kernel_size[0]
    keeps_size = layer.padding == (k // 2, k // 2) and set(layer.stride) == set(layer.dilation) == {1}
    if layer.kernel_size != (k, k) or k % 2 == 0 or k == 1 or not keeps_size:
        return False
    if rank >= min(layer.in_channels, layer.out_channels):  # first and last layers, in which all rank is needed
        return False
    if layer.groups != 1 or layer.padding_mode != 'zeros' or type(layer) is not nn.Conv2d:
        return False
    return rank * k * (layer.in_channels + layer.out_channels) < layer.in_channels * layer.out_channels * k * k
