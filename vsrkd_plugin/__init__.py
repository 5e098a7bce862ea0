"""Data-free knowledge distillation of super-resolution networks, as a plugin for BasicSR."""

from vsrkd_plugin import compat as _compat

__version__ = '0.1.0'

# Before anything imports basicsr, and again in every spawned worker, which imports this package first.
_compat.install_import_shim()
