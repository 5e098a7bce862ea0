"""Registers everything of ours in BasicSR's registries: an explicit list of imports."""

import importlib
import os
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from vsrkd_plugin.errors import UserError, first_line, show

GROUP = 'basicsr.plugins'
MODULES = (
    'vsrkd_plugin.archs.imdn_arch',
    'vsrkd_plugin.archs.latent_generator_arch',
    'vsrkd_plugin.archs.low_rank_network_arch',
    'vsrkd_plugin.archs.progressive_student_arch',
    'vsrkd_plugin.archs.rlfn_arch',
    'vsrkd_plugin.archs.rlsp_arch',
    'vsrkd_plugin.archs.spandrel_network_arch',
    'vsrkd_plugin.archs.tdan_arch',
    'vsrkd_plugin.archs.usrda_arch',
    'vsrkd_plugin.archs.vdsr_arch',
    'vsrkd_plugin.data.bicubic_image_dataset',
    'vsrkd_plugin.data.degraded_clip_dataset',
    'vsrkd_plugin.data.latent_dataset',
    'vsrkd_plugin.data.unpaired_lr_dataset',
    'vsrkd_plugin.losses.adversarial_distillation_loss',
    'vsrkd_plugin.losses.alignment_loss',
    'vsrkd_plugin.losses.distillation_loss',
    'vsrkd_plugin.losses.feature_distillation_loss',
    'vsrkd_plugin.losses.reconstruction_loss',
    'vsrkd_plugin.losses.sharpness_loss',
    'vsrkd_plugin.losses.temporal_consistency_loss',
    'vsrkd_plugin.models.clip_sr_model',
    'vsrkd_plugin.models.data_free_distillation_model',
    'vsrkd_plugin.models.domain_adaptation_model',
    'vsrkd_plugin.models.multi_scale_sr_model',
    'vsrkd_plugin.models.video_data_free_distillation_model',
)


def register() -> None:
    """Register the plugin's networks, losses, data sets and models. A second call changes nothing; logs nothing."""
    from vsrkd_plugin.basicsr_patches.quick_import import import_basicsr

    import_basicsr()  # before anything of ours does
    from vsrkd_plugin.basicsr_patches import loop, networks

    loop.apply()
    networks.apply()
    for module in MODULES:
        importlib.import_module(module)


def register_all(extra: list[str] | None = None) -> None:
    """Register ours, every installed plugin of the entry-point group `basicsr.plugins`, and modules named by the user.

    Args:
        extra: names of modules to import (`--import my_archs`), which are found beside the current directory too.

    Raises:
        UserError: a module that cannot be imported.
    """
    register()
    for entry in entry_points(group=GROUP):
        try:
            entry.load()()
        except ImportError as error:
            told = f'cannot be imported: {first_line(error)}'
            raise UserError(f'plugin {entry.name} ({entry.value}) {told}') from error
        except (Exception, SystemExit) as error:
            told = f'{type(error).__name__}: {first_line(error)}'
            raise UserError(f'plugin {entry.name} ({entry.value}) cannot register: {told}') from error
    if extra and not {'', os.getcwd()} & set(sys.path):
        # A console script does not look here. At the end: a file here must not stand in for a module of Python's. It
        # stays, for what the modules import later, and for worker processes.
        sys.path.append(os.getcwd())
    for name in extra or []:
        _import(name)


def _import(name: str) -> None:
    """A module of the user's, which may do anything, badly.

    Raises:
        UserError: it cannot be imported.
    """
    if name.endswith('.py') or not all(name.split('.')) or any(mark in name for mark in '/\\\0 '):
        raise UserError(f'--import {show(name)}: expected the name of a module, such as my_archs of my_archs.py here')
    try:
        importlib.import_module(name)
    except (ImportError, AssertionError) as error:  # also of BasicSR's registries: their text is of its own
        raise UserError(f'--import {name}: cannot be imported: {first_line(error)}') from error
    except (Exception, SystemExit) as error:
        where = next((f', line {frame.lineno}' for frame in _frames(error, name)), '')
        text = f'{type(error).__name__}: {first_line(error)}'
        raise UserError(f'--import {name}{where}: cannot be imported: {text}') from error


def _frames(error: BaseException, name: str) -> list[traceback.FrameSummary]:
    """Where in the user's module it happened, the last first; nothing of an error that is of no line of it."""
    file = name.rpartition('.')[2] + '.py'
    return [frame for frame in reversed(traceback.extract_tb(error.__traceback__)) if Path(frame.filename).name == file]
