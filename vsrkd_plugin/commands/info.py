"""`info`: versions, devices, the precision chosen, and everything of ours that is registered."""

import argparse
import inspect
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from vsrkd_plugin import __version__
from vsrkd_plugin.ops.precision import describe_device, resolve_precision
from vsrkd_plugin.run.zoo import names

_PACKAGES = ('basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python', 'mmengine', 'lmdb', 'pyyaml', 'scikit-image')


def run(args: argparse.Namespace) -> int:
    """Print `describe`; gives the exit status."""
    print(describe())
    return 0


def describe() -> str:
    """A text of several lines; call `register_all` before."""
    lines = [f'vsrkd_plugin {__version__}, Python {platform.python_version()}']
    lines.append('packages: ' + ', '.join(f'{name} {_version(name)}' for name in _PACKAGES))
    devices = [torch.device('cpu'), *(torch.device('cuda', i) for i in range(torch.cuda.device_count()))]
    for device in devices:
        dtype = str(resolve_precision('auto', device)).removeprefix('torch.')
        lines.append(f'device: {describe_device(device)}; precision auto: {dtype}')
    lines.append(f'zoo: {", ".join(f"zoo:{name}" for name in names())}')
    for title, registry in (
        ('networks', ARCH_REGISTRY),
        ('losses', LOSS_REGISTRY),
        ('data sets', DATASET_REGISTRY),
        ('models', MODEL_REGISTRY),
    ):
        lines.append(f'{title} of plugins (stock BasicSR has {sum(_is_stock(cls) for _, cls in registry)} more):')
        for name, cls in registry:
            if not _is_stock(cls):
                lines.append(f'  {name:<28} {(inspect.getdoc(cls) or "").partition(chr(10))[0]}')
    return '\n'.join(lines)


def _is_stock(cls: object) -> bool:
    return getattr(cls, '__module__', '').partition('.')[0] == 'basicsr'


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'missing'
