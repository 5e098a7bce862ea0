"""A checkpoint as a network that can be used: by its header, or by what its weights tell."""

from collections.abc import Callable, Mapping
from typing import Any

from basicsr.archs import build_network
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.teacher import adapter_of, build, inspect_teacher
from vsrkd_plugin.run.checkpoints import load_weights
from vsrkd_plugin.run.model_file import ModelHeader, read_header

_VIDEO_SIDE = 64  # of the frames that a video network is tried with


def open_model(
    path: str,
    network: Mapping[str, Any] | None = None,
    contract: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Model:
    """Open any checkpoint of an SR network.

    Args:
        path: a file of ours, which tells what it holds; any other, whose family is recognised; or `zoo:NAME`.
        network: options of its network, where the user names it.
        contract: fields of its contract, where the user says them.
        say: is told what is being done.

    Raises:
        UserError: it cannot be read, is of no known family, or the network that its header names does not fit.
    """
    header = None if network else read_header(path)
    if header is None:
        found = inspect_teacher(path, network, contract, allow_restoration=True, say=say, briefly=True)
        built = build(found)
        header = ModelHeader(
            network=dict(found.options),
            scales=found.scales,
            channels=found.channels,
            is_video=found.is_video,
            contract=dict(found.contract),
            value_range=found.value_range,
        )
        return Model(path, built, adapter_of(built, found), header)
    said = {**header.contract, **(contract or {})}
    try:
        built = freeze(build_network(dict(header.network)))
    except Exception as error:  # whatever a class raises of arguments that a file names
        raise UserError(
            f'{path}: its {header.network["type"]} cannot be built ({first_line(error)}); a network of a module of '
            'yours needs --import'
        ) from error
    load_weights(built, path, 'params' if str(path).endswith('.pth') else None)
    comply(built, said, header.network)
    try:
        return Model(path, built, _adapter(built, header), header)
    except UNFIT as error:
        raise UserError(f'{path}: the {header.network["type"]} cannot be run ({first_line(error)})') from error


def _adapter(network: nn.Module, header: ModelHeader) -> ImageSRAdapter | VideoSRAdapter:
    if header.is_video:
        return VideoSRAdapter(network, header.scales[0], header.network, lr_size=_VIDEO_SIDE)
    return ImageSRAdapter(network, header.channels)
