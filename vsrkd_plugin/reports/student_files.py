"""The student as files that tell what they hold, beside its report: `.pth`, `.safetensors` and a model card."""

from pathlib import Path
from typing import Any

from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.values import as_tuple
from vsrkd_plugin.deploy.model import header_of, name_teacher
from vsrkd_plugin.reports.complexity import Adapter
from vsrkd_plugin.reports.model_card import to_model_card
from vsrkd_plugin.run.model_file import write_model
from vsrkd_plugin.run.whole_files import write_text_atomically

PTH, SAFETENSORS, CARD = 'student.pth', 'student.safetensors', 'model_card.md'
STUDENT_FILES = (PTH, SAFETENSORS, CARD)


def write_student(folder: Path, opt: dict[str, Any], student: Adapter, report: dict[str, Any]) -> None:
    """Write `STUDENT_FILES` into `folder`.

    Args:
        folder: the experiment's.
        opt: its options.
        student: its network, in its adapter, with the weights to write.
        report: its report, whose figures the card tells.
    """
    network = opt['network_g']
    header = header_of(
        student.network,
        network,
        list(as_tuple(opt.get('scales') or opt.get('scale') or network.get('upscale', 1))),
        Model.of(opt).is_video,
        opt.get('contract_g'),
        None
        if Model.of(opt).adapts  # what network_t gave it are targets; it was trained on pictures of a camera
        else name_teacher(opt.get('network_t'), (opt.get('path') or {}).get('pretrain_network_t')),
    )
    weights = student.network.state_dict()
    for name in (PTH, SAFETENSORS):
        write_model(weights, header, folder / name)
    card = to_model_card(str(opt.get('name', folder.name)), header, report, _data_free(opt))
    write_text_atomically(card, folder / CARD)


def _data_free(opt: dict[str, Any]) -> bool:
    """Whether a distillation saw made inputs alone; of banks that are stored it is not known."""
    synthesis = opt.get('synthesis') or {}
    sources = synthesis.get('sources') or []
    real = any(source.get('type') in ('images', 'lr_images') for source in sources)
    return Model.of(opt).distils and not real and not (synthesis.get('bank') or {}).get('path')
