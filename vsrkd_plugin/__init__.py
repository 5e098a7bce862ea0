"""Data-free knowledge distillation of super-resolution networks, as a plugin for BasicSR."""

from typing import TYPE_CHECKING, Any

from vsrkd_plugin.basicsr_patches import import_shim as _import_shim

if TYPE_CHECKING:
    from vsrkd_plugin.python_api import distill

__version__ = '0.1.0'

# Before anything imports basicsr, and again in every spawned worker, which imports this package first.
_import_shim.install_import_shim()

__all__ = ['__version__', 'distill']


def __getattr__(name: str) -> Any:
    """`distill`, imported when it is asked for: every worker imports this package, and `--help` must not wait."""
    if name == 'distill':
        from vsrkd_plugin.python_api import distill

        return distill
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
