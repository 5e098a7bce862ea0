"""Data-free distillation of video super-resolution in BasicSR's training loop."""

from basicsr.utils.registry import MODEL_REGISTRY

from vsrkd_plugin.models.clip_validation import ClipValidation
from vsrkd_plugin.models.data_free_distillation_model import DataFreeDistillationModel


@MODEL_REGISTRY.register()
class VideoDataFreeDistillationModel(ClipValidation, DataFreeDistillationModel):
    """Distils a video SR network into a smaller one on clips that are made: pictures in known motion.

    Teacher and student may each be recurrent or have a sliding window. `synthesis.clips` says what clips are like. A
    student that super-resolves Y alone (it has a method `luma`) learns by Y. Validation is on whole clips; everything
    else is as in `DataFreeDistillationModel`.
    """
