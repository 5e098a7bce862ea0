"""A network that is to be used: called alike, whoever made it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vsrkd_plugin import __version__
from vsrkd_plugin.adapters.contract import NetworkContract, input_channels
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


_OF_A_TRAINING = ('precision', 'start')  # arguments of our networks that are none of the weights'


def header_of(
    network: nn.Module,
    options: Mapping[str, Any],
    scales: Iterable[int],
    is_video: bool,
    contract: Mapping[str, Any] | None = None,
    distilled_from: str | None = None,
) -> ModelHeader:
    """What a model file tells of a network.

    Args:
        network: built, and complying with its contract.
        options: `{type, …}`, as `network_g` of an options file has it.
        scales: the factors that it enlarges by.
        is_video: it takes clips.
        contract: what the options say of what it wants (`contract_g`).
        distilled_from: its teacher, as `name_teacher` tells it.
    """
    said = {key: value for key, value in options.items() if key not in _OF_A_TRAINING}
    return ModelHeader(
        network=said,
        scales=tuple(int(scale) for scale in scales),
        channels=input_channels(network, said),
        is_video=is_video,
        contract=dict(contract or {}),
        value_range=NetworkContract.of(network).value_range,
        distilled_from=distilled_from,
        version=__version__,
    )


def name_teacher(options: Mapping[str, Any] | None, weights: str | None) -> str | None:
    """A teacher as files of its students tell it: its type and its file's name, without the folder."""
    if not options:
        return None
    return f'{options["type"]} ({Path(weights).name})' if weights else str(options['type'])
