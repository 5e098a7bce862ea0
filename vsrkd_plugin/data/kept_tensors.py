"""What data sets keep in memory, so that it need not be read and made again."""

from collections.abc import Hashable

from torch import Tensor


class KeptTensors:
    """Tensors by key, up to a number of bytes; what no longer fits is not kept.

    Sent to another process it arrives empty: each process keeps what it uses.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._entries: dict[Hashable, tuple[Tensor, ...]] = {}

    def __reduce__(self) -> tuple:
        return type(self), (self.limit,)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __getitem__(self, key: Hashable) -> tuple[Tensor, ...]:
        return self._entries[key]

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more may be kept."""
        return self.used + size <= self.limit

    def keep(self, key: Hashable, *tensors: Tensor) -> None:
        """Keep tensors under a key that is not there yet, if there is room for all of them."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if self.has_room(size):
            self.used += size
            self._entries[key] = tensors
