"""Data-free knowledge distillation of super-resolution networks, as a plugin for BasicSR."""

from vsrkd_plugin.basicsr_patches import import_shim as _import_shim

__version__ = '0.1.0'

# Before anything imports basicsr, and again in every spawned worker, which imports this package first.
_import_shim.install_import_shim()
