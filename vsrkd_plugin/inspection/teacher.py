"""What a checkpoint is, as a teacher: its network, what it takes and gives, what it costs, and what it restores."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply, trying
from vsrkd_plugin.adapters.contract import UNFIT, NetworkContract
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.probing import SizesFound, best_value_range, smallest_size_and_multiple
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.clips import CLIP_CONDITIONS, clip_restoration
from vsrkd_plugin.inspection.recognising import Candidate, named_candidate, recognise
from vsrkd_plugin.inspection.restoring import CONDITIONS, Gain, photographs, restoration
from vsrkd_plugin.reports.complexity import count_macs
from vsrkd_plugin.run.checkpoints import read_weights

SCALES = (2, 3, 4)  # that a network of several serves
_CHANNELS = (3, 1)  # RGB, Y
_VIDEO_SCALES = (4, 2, 3, 8)  # tried in turn of a video network whose options do not tell
_LR_SIDE, _VIDEO_SIDE = 48, 64  # of what it is tried with
_PATIENCE = 2e11  # multiply-accumulates that all of measuring may take, at most: some seconds on one core
_ANSWERED = 0.5  # dB over bicubic, and over what it gains on clean images: then it is for degraded ones
# Or it is steady: what it loses in dB, as a share of the dB by which it sharpens clean images. Networks trained on
# clean LR (VDSR, IMDN, RLFN) have 0.5 at noise 15 and 0.8 to 1.1 at JPEG 90, one trained on degraded LR 0.14 and 0.43.
_STEADY = {'noise 15': 0.3, 'JPEG 90': 0.6}
# Sharper than bicubic by this, and yet no nearer to HR: what a discriminator, or a perceptual loss, made of it.
_SHARP, _NEAR = 1.5, 0.3
_BETTER = 1.0  # dB on a photograph: then another range is the right one
_FAR = -4.0  # dB: what is farther from HR is no sharpened image, but noise


@dataclass(frozen=True)
class Inspection:
    """What is known of a teacher; `as_json` gives it to programs.

    Attributes:
        path: the checkpoint.
        options: `{type, …}`, as an options file has them.
        source: who knows the family: `BasicSR` (and this package), `spandrel`, or `--network`.
        is_video: it takes clips.
        window: frames of its sliding window; None of others.
        scales: the factors that it enlarges by.
        channels: 1 (Y) or 3 (RGB).
        value_range: of black and white.
        min_size, size_multiple: of LR sides; smaller and other ones are padded.
        contract: what options must say of it (`contract_t`), since the network itself does not.
        params: weights.
        macs_per_megapixel: multiply-accumulates for a megapixel of the result, at the first of `scales`.
        gains: what it restores, at the first of `scales`.
        warnings: what speaks against it as a teacher.
    """

    path: str
    options: Mapping[str, Any]
    source: str
    is_video: bool
    window: int | None
    scales: tuple[int, ...]
    channels: int
    value_range: tuple[float, float]
    min_size: int
    size_multiple: int
    contract: Mapping[str, Any]
    params: int
    macs_per_megapixel: float | None
    gains: tuple[Gain, ...]
    warnings: tuple[str, ...] = ()
    candidate: Candidate | None = field(default=None, repr=False, compare=False)

    @property
    def scale(self) -> int:
        """The one that gains and operations are of."""
        return self.scales[0]

    @property
    def by_condition(self) -> dict[str, Gain]:
        """Gains by their conditions."""
        return {gain.condition: gain for gain in self.gains}

    @property
    def is_sharpened(self) -> bool:
        """Whether it gives more detail than PSNR rewards, as networks trained with a GAN do."""
        clean = self.by_condition.get('clean')
        if clean is None or not _FAR < clean.gain < _NEAR:
            return False
        return clean.sharpness > _SHARP * clean.sharpness_bicubic

    @property
    def answers(self) -> list[str]:
        """Conditions that it was trained for: it clearly gains more than on clean images, or is steady in them."""
        clean = self.by_condition.get('clean')
        if clean is None:
            return []
        least = max(clean.gain, 0) + _ANSWERED
        ratio = clean.sharpness / max(clean.sharpness_bicubic, 1e-6)
        # What hardly sharpens its input cannot sharpen noise either: that tells nothing.
        sharpened = 20 * math.log10(ratio) if ratio > _SHARP else -math.inf
        steady = [
            name.split()[0]
            for name, share in _STEADY.items()
            if name in self.by_condition and -self.by_condition[name].steadiness <= share * sharpened
        ]
        return [
            gain.condition
            for gain in self.gains
            if gain is not clean and (gain.gain >= least or gain.condition.split()[0] in steady)
        ]

    @property
    def degrade(self) -> dict[str, Any] | None:
        """Options of `synthesis.degrade` that give it the inputs that it is for; None where clean ones are."""
        kinds = {name.split()[0] for name in self.answers}
        proposed = {
            'blur': ('blur_sigma', [0.2, 1.5]),
            'noise': ('noise_range', [0, 15]),
            'JPEG': ('jpeg_range', [50, 95]),
        }
        parts = dict(part for kind, part in proposed.items() if kind in kinds)
        # Few clean ones: degraded pictures are harder to agree on, and are what such a teacher is for.
        return {'clean_prob': 0.1, **parts} if parts else None

    @property
    def clip_degradation(self) -> str:
        """Of a video network: how LR of its clips is made (`bicubic` or `blur`): that in which it gains more."""
        return max(self.gains, key=lambda gain: gain.gain).condition if self.gains else 'bicubic'

    def as_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and mappings."""
        found = asdict(replace(self, candidate=None))
        del found['candidate']
        found['gains'] = {gain.condition: {**asdict(gain), 'gain': round(gain.gain, 3)} for gain in self.gains}
        return {**found, 'is_sharpened': self.is_sharpened, 'answers': self.answers, 'degrade': self.degrade}


def inspect_teacher(
    path: str,
    network: Mapping[str, Any] | None = None,
    contract: Mapping[str, Any] | None = None,
    allow_restoration: bool = False,
    say: Callable[[str], None] = lambda text: None,
    briefly: bool = False,
) -> Inspection:
    """Find out what a checkpoint is.

    Args:
        path: the file, or `zoo:NAME`.
        network: options of its network, where the user names it.
        contract: fields of its contract, where the user says them.
        allow_restoration: a network of scale 1 is not refused.
        say: is told what is being done.
        briefly: only what is needed to use it: operations are not counted, degraded images not tried.

    Raises:
        UserError: it cannot be read, is of no known family, does not enlarge, holds values that are not finite, or its
            output is not finite.
    """
    say(f'reading {path}')
    weights = read_weights(path)
    candidates = [named_candidate(path, weights, dict(network))] if network else recognise(path, weights)
    kind = candidates[0].options['type']
    say(f'trying {len(candidates)} ways to build a {kind}' if len(candidates) > 1 else f'building a {kind}')
    measured, refused = [], []
    for candidate in candidates:
        try:
            measured.append(_measured(path, candidate, contract or {}, allow_restoration))
        except UserError as error:  # of one that the weights fit by their shapes alone; another may be right
            refused.append(error)
    if not measured:
        raise refused[0]
    best = max(measured, key=lambda inspection: max(gain.network for gain in inspection.gains))
    if briefly:
        return best
    if len(measured) > 1 or not best.is_video:
        say('measuring what it restores')
    return _complete(best)


def inspect_module(
    network: nn.Module, scale: int | None = None, contract: Mapping[str, Any] | None = None
) -> Inspection:
    """Find out what a network is that is there already.

    Args:
        network: with its weights; it is left as it is.
        scale: that it is to serve; that which it is found to enlarge by, if None.
        contract: fields of its contract that it does not say itself.

    Raises:
        UserError: it does not enlarge by `scale`, takes no images, or its output is not finite.
    """
    name = type(network).__name__
    candidate = Candidate({'type': name}, {}, source='Python', network=network)
    found = _measured(name, candidate, contract or {}, False)
    if scale is not None:
        if scale not in found.scales:
            raise UserError(f'{name} enlarges by {" or ".join(map(str, found.scales))}, not by {scale}')
        found = replace(found, scales=(scale,))
    return _complete(found)


def build(inspection: Inspection) -> nn.Module:
    """The network that was found, with its weights, keeping to its contract."""
    assert inspection.candidate is not None
    return comply(inspection.candidate.build(), inspection.contract, inspection.options)


def adapter_of(network: nn.Module, inspection: Inspection) -> ImageSRAdapter | VideoSRAdapter:
    """A network called as its kind is."""
    if inspection.is_video:
        return VideoSRAdapter(network, inspection.scale, inspection.options, lr_size=_VIDEO_SIDE)
    return ImageSRAdapter(network, inspection.channels, _LR_SIDE)


def _measured(path: str, candidate: Candidate, contract: Mapping[str, Any], allow_restoration: bool) -> Inspection:
    """A candidate with what is quickly told of it, and its gain on clean images, which tells candidates apart."""
    network = candidate.build()
    name = candidate.options['type']
    hints = {**_hints(candidate), **contract}
    try:
        comply(network, hints, candidate.options)
        if candidate.is_video:
            return _video(path, candidate, network, hints)
        sizes = _sizes(network, hints, candidate.options)
        if sizes is None and candidate.source == '--network':
            return _video(path, replace(candidate, is_video=True), network, hints)
        if sizes is None:
            raise UserError(f'{path}: the {name} that it fits takes no image of up to 192x192')
        known = NetworkContract.of(network)
        for key, found in (('min_size', sizes.min_size), ('size_multiple', sizes.size_multiple)):
            if key not in contract and found > getattr(known, key):
                hints[key] = found
        comply(network, hints, candidate.options)
        known = NetworkContract.of(network)
        # What works at HR size serves any scale, though it may not say which it was trained for.
        scales = SCALES if known.multi_scale or known.pre_upsampling else (_factor(network, known),)
        if scales == (1,) and not allow_restoration:
            raise UserError(
                f'{path}: {name} gives an image of the size of its input (scale 1): it restores, and does not '
                "super-resolve; --contract '{pre_upsampling: true}' says that it is given LR enlarged by bicubic, and "
                'inspect --allow-restoration tells what'
            )
        adapter = ImageSRAdapter(network, known.channels, _LR_SIDE)
        found_range = best_value_range(adapter, scales[0])
        if not any(map(math.isfinite, found_range.errors.values())):
            raise UserError(f'{path}: the {name} gives values that are not finite')
        side = -(-max(_LR_SIDE, sizes.min_size) // sizes.size_multiple) * sizes.size_multiple
        photograph, condition = photographs(side, scales[0], 1), {'clean': CONDITIONS['clean']}

        def measure() -> list[Gain]:
            return restoration(lambda lr: adapter(lr, scales[0]), photograph, scales[0], known.channels, condition)

        clean = measure()
        nearest = found_range.best or min(found_range.errors, key=lambda values: found_range.errors[values])
        if 'value_range' not in contract and nearest != found_range.said:
            # That of a smooth image is certain for networks trained for PSNR alone; a photograph tells of any.
            with trying(network, value_range=nearest):
                there = measure()
            if found_range.best is not None or there[0].network > clean[0].network + _BETTER:
                hints['value_range'], clean = list(nearest), there
                comply(network, hints, candidate.options)
        known = NetworkContract.of(network)
    except UNFIT as error:
        raise UserError(f'{path}: the {name} that it fits cannot be run: {first_line(error)}') from error
    return _inspection(path, candidate, network, hints, scales, clean, sizes)


def _inspection(
    path: str,
    candidate: Candidate,
    network: nn.Module,
    hints: Mapping[str, Any],
    scales: tuple[int, ...],
    gains: list[Gain],
    sizes: SizesFound,
    window: int | None = None,
) -> Inspection:
    """What is known before operations are counted; colours and range are those of the network's contract."""
    known = NetworkContract.of(network)
    return Inspection(
        path=path,
        options=candidate.options,
        source=candidate.source,
        is_video=candidate.is_video,
        window=window,
        scales=scales,
        channels=CLIP_CHANNELS if candidate.is_video else known.channels,
        value_range=known.value_range,
        min_size=sizes.min_size,
        size_multiple=sizes.size_multiple,
        contract=hints,
        params=sum(parameter.numel() for parameter in network.parameters()),
        macs_per_megapixel=None,
        gains=tuple(gains),
        candidate=candidate,
    )


def _hints(candidate: Candidate) -> dict[str, Any]:
    """What spandrel knows of a network's sizes, where it is not what everyone takes."""
    return {key: value for key, value in (candidate.contract or {}).items() if value > 1}


def _sizes(network: nn.Module, hints: dict[str, Any], options: Mapping[str, Any]) -> SizesFound | None:
    """The sizes of the images that a network takes, None if it takes none; notes its channels in `hints` if need be.

    The channels that its first convolution reads need not be those of an image: a network may unshuffle it before.
    """
    sizes = smallest_size_and_multiple(network)
    if sizes is not None or 'channels' in hints or NetworkContract.of(network).channels in _CHANNELS:
        return sizes
    for channels in _CHANNELS:
        comply(network, {**hints, 'channels': channels}, options)
        if (sizes := smallest_size_and_multiple(network)) is not None:
            hints['channels'] = channels
            return sizes
    comply(network, hints, options)
    return None


@torch.no_grad()
def _factor(network: nn.Module, contract: NetworkContract) -> int:
    """The factor that a network of one scale enlarges by."""
    output = network(torch.zeros(1, contract.channels, _LR_SIDE, _LR_SIDE))
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise ValueError(f'gives {type(output).__name__}, expected one image')
    factor, rest = divmod(output.shape[-1], _LR_SIDE)
    if rest or output.shape[1] != contract.channels or output.shape[-2] != output.shape[-1]:
        raise ValueError(f'gives {tuple(output.shape)} for one of {_LR_SIDE}x{_LR_SIDE}')
    return factor


def _video(path: str, candidate: Candidate, network: nn.Module, hints: dict[str, Any]) -> Inspection:
    adapter = _video_adapter(network, candidate.options)
    contract = NetworkContract.of(network)
    sizes = SizesFound(contract.min_size, contract.size_multiple)
    gains = clip_restoration(adapter, CLIP_CONDITIONS)
    return _inspection(path, candidate, network, hints, (adapter.scale,), gains, sizes, adapter.window)


def _video_adapter(network: nn.Module, options: Mapping[str, Any]) -> VideoSRAdapter:
    """Around a video network, for the scale that its options tell, or else that by which it enlarges."""
    scales = [value for key, value in options.items() if key in ('scale', 'upscale')][:1] or _VIDEO_SCALES
    first: ValueError | None = None
    for scale in scales:
        try:
            return VideoSRAdapter(network, scale, options, lr_size=_VIDEO_SIDE)
        except ValueError as error:
            first = first or error
    assert first is not None
    raise first


def _complete(inspection: Inspection) -> Inspection:
    """Operations and all gains of the candidate that is best."""
    network = build(inspection)
    adapter = adapter_of(network, inspection)
    scale, side = inspection.scale, _VIDEO_SIDE if inspection.is_video else _LR_SIDE
    frames = max(7, inspection.window or 0) if inspection.is_video else 1
    shape = (1, frames, 3, side, side) if inspection.is_video else (1, inspection.channels, side, side)
    macs = count_macs(adapter, torch.rand(shape), scale, frames)
    found = replace(inspection, macs_per_megapixel=macs and macs / (side * scale) ** 2 * 1e6)
    if not inspection.is_video:
        lr_side = -(-max(_LR_SIDE, found.min_size) // found.size_multiple) * found.size_multiple
        each = (macs or 1e9) * (lr_side / side) ** 2 * len(CONDITIONS)
        number = int(min(max(_PATIENCE / each, 1), 4))
        hr = photographs(lr_side, scale, number)
        gains = restoration(lambda lr: adapter(lr, scale), hr, scale, found.channels, CONDITIONS)
        found = replace(found, gains=tuple(gains))
    return replace(found, warnings=tuple(_warnings(found)))


def _warnings(found: Inspection) -> list[str]:
    clean, best = found.by_condition.get('clean'), max(gain.gain for gain in found.gains)
    plain = clean is not None and clean.gain < _NEAR and clean.sharpness < _SHARP * clean.sharpness_bicubic
    if (best < 0 and not found.is_sharpened) or (plain and best < 1):
        return [
            'it is no better than bicubic, nor sharper: its weights may be random, or of another network, range or '
            'colour order'
        ]
    return []
