"""A network that is to be used: called alike, whoever made it."""

from dataclasses import dataclass

from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.run.model_file import ModelHeader


@dataclass(frozen=True)
class Model:
    """A network with what is known of it.

    Attributes:
        path: the file that it is of, as the user named it.
        network: frozen, in evaluation mode, on the CPU, fp32; it keeps to its contract, so it takes [0, 1] and any
            size.
        adapter: calls it: `ImageSRAdapter` (`(n, c, h, w)` and the scale; of RGB a network of Y super-resolves Y and
            chroma is enlarged by bicubic) or `VideoSRAdapter` (`(n, t, 3, h, w)`).
        header: type, scales, channels, contract.
    """

    path: str
    network: nn.Module
    adapter: ImageSRAdapter | VideoSRAdapter
    header: ModelHeader

    @property
    def name(self) -> str:
        """The network's type."""
        return str(self.header.network['type'])

    @property
    def is_video(self) -> bool:
        """Whether it takes clips."""
        return self.header.is_video
