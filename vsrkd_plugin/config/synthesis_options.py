"""The options of a distillation's inputs: where they come from, what is done to them, and what is kept."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag

from vsrkd_plugin.config import values as v
from vsrkd_plugin.config.dataset_options import DegradeOptions
from vsrkd_plugin.config.section import Section, missing, option, tag
from vsrkd_plugin.errors import one_of, unexpected
from vsrkd_plugin.ops.degradation import SIGMA
from vsrkd_plugin.synthesis.bank.memory import ROWS
from vsrkd_plugin.synthesis.clips.scenes import SPEED
from vsrkd_plugin.synthesis.sources.procedural import IMAGE_SIZE, NUM_IMAGES


class BankOptions(Section):
    """Inputs kept with the outputs of the teacher."""

    reuse: v.Whole = option('how often each input and its output by the teacher is used', 1)
    rows: v.Whole2 = option('inputs kept of each scale', ROWS)
    turn: v.Bool = option('flip and rotate what is used again', True)
    numbers: Literal['fp16', 'uint8'] = option('how samples are kept', 'fp16')
    hr_size: v.Whole | None = option('side of the HR patches that are kept, if larger than those given', None)
    frames: v.Whole2 | None = option('video: frames of the clips that are kept, if more than those given', None)
    path: v.Roots | None = option('stored banks (patterns as a*.lmdb too), instead of sources and teacher', None)


class ClipsOptions(Section):
    """Clips, made of the pictures of the sources."""

    frames: v.Whole2 = option('of a clip')
    degradation: Literal['bicubic', 'blur', 'none'] = option("the teacher's; none: rendered at LR size")
    sigma: v.Positive = option('of the blur, in HR pixels', SIGMA)
    objects: v.Whole0 = option('in front of the ground, at most', 2)
    motion: Literal['full', 'translation', 'still'] = option('how the ground and objects move', 'full')
    speed: v.Speed = option('of the motion, from and to, LR pixels a frame', SPEED)
    picture_size: v.Whole | None = option('side of the pictures; a quarter more than a frame shows if not given', None)


class SourceOptions(Section):
    """Any source of inputs."""

    type: Literal['procedural', 'learned', 'noise', 'images', 'lr_images'] = option(
        'learned: the generators, network_z'
    )
    weight: v.Positive = option('share of a batch', 1)


class ImagesOptions(SourceOptions):
    """The source images, real ones."""

    type: Literal['images'] = option('this source')
    dataroot_gt: v.Roots = option('folders or LMDBs of HR images, or skimage')


class LRImagesOptions(SourceOptions):
    """The source lr_images, LR images of your own; HR is not needed."""

    type: Literal['lr_images'] = option('this source')
    dataroot_lq: v.Roots = option('folders, those in them included, or LMDBs, of images of any size')


class ProceduralOptions(SourceOptions):
    """The source procedural, which paints dead leaves and textures."""

    type: Literal['procedural'] = option('this source')
    num_images: v.Whole = option('images painted', NUM_IMAGES)
    image_size: v.Whole = option('their side; where it is not given, more for large patches', IMAGE_SIZE)
    cache_dir: v.Text | None = option('folder that keeps them for other runs', None)


def _known_source(options: Any) -> Any:
    """Its type is told before its keys: they depend on it."""
    kinds = get_args(SourceOptions.model_fields['type'].annotation)
    if isinstance(options, dict) and options.get('type') not in kinds:
        raise (
            unexpected(one_of(kinds), options['type'], 'type') if 'type' in options else missing(SourceOptions, 'type')
        )
    return options


Source = Annotated[
    Annotated[ImagesOptions, Tag('*images')]
    | Annotated[LRImagesOptions, Tag('*lr_images')]
    | Annotated[ProceduralOptions, Tag('*procedural')]
    | Annotated[SourceOptions, Tag('*')],
    Discriminator(lambda options: tag(options, ('images', 'lr_images', 'procedural'))),
    BeforeValidator(_known_source),
]


class SynthesisOptions(Section):
    """Where the inputs come from."""

    hr_size: v.Whole = option('side of the HR patches, a multiple of every scale', 48)
    sources: Annotated[list[Source], Field(min_length=1)] | None = option('what makes inputs, each for its share', None)
    candidates: v.Whole = option(
        'images made for each one that is taken, by chance, the likelier the more detail it has; not of learned', 1
    )
    degrade: DegradeOptions | None = option('how images of sources are degraded, but those of lr_images', None)
    bank: BankOptions | None = option('inputs kept with the outputs of the teacher', None)
    clips: ClipsOptions | None = option('video: how pictures of the sources are set in motion', None)


class VideoSynthesisOptions(SynthesisOptions):
    """Where the inputs of a distillation of video come from."""

    clips: ClipsOptions = option('how pictures of the sources are set in motion')
