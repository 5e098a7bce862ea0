"""The patch without which `import basicsr` fails; `vsrkd_plugin` applies it when it is imported."""

import importlib.machinery
import sys
import types
from typing import Any


def install_import_shim() -> None:
    """Symptom: `import basicsr` fails with "No module named 'torchvision.transforms.functional_tensor'".

    torchvision 0.17 took that module away; basicsr wants `rgb_to_grayscale` of it. torchvision itself is imported only
    when the function is called.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules:
        return

    def rgb_to_grayscale(*args: Any, **kwargs: Any) -> Any:
        from torchvision.transforms import functional

        return functional.rgb_to_grayscale(*args, **kwargs)

    module = types.ModuleType(name)
    vars(module)['rgb_to_grayscale'] = rgb_to_grayscale
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
