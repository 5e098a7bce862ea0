"""What is slow to import and hardly ever called is imported when it is called."""

import subprocess
import sys

SLOW = ('torch._dynamo', 'scipy.stats', 'sympy')


def _in_a_fresh_process(program: str) -> None:
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_commands_do_not_wait_for_it() -> None:
    _in_a_fresh_process(
        'import sys\n'
        'from vsrkd_plugin.registration import register_all\n'
        'register_all()\n'
        f'assert not set(sys.modules) & set({SLOW}), set(sys.modules) & set({SLOW})'
    )


def test_it_is_there_when_it_is_called() -> None:
    _in_a_fresh_process(
        'import sys\n'
        'from vsrkd_plugin.registration import register\n'
        'register()\n'
        'from basicsr.data import degradations\n'
        'from torchvision.ops import roi_align\n'
        'found = degradations.multivariate_normal([0, 0], [[1, 0], [0, 1]]).cdf([0.5, 1])\n'
        'kind = type(degradations.multivariate_normal.cdf)\n'
        'supported = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")\n'
        'import scipy.stats, torch._dynamo.utils\n'
        'assert abs(found - scipy.stats.norm.cdf(0.5) * scipy.stats.norm.cdf(1)) < 1e-9\n'
        'assert kind is type(scipy.stats.multivariate_normal.cdf)\n'
        'assert supported == torch._dynamo.utils.is_compile_supported("cpu")\n'
    )


def test_a_stand_in_gives_way_to_the_real_module() -> None:
    """Where something else imports it meanwhile."""
    _in_a_fresh_process(
        'import importlib, sys\n'
        'from vsrkd_plugin.basicsr_patches import quick_import\n'
        'sys.modules["scipy.stats"] = quick_import._StandIn("scipy.stats", "multivariate_normal")\n'
        'from scipy.stats import norm\n'
        'assert abs(norm.cdf(0) - 0.5) < 1e-12\n'
        'assert hasattr(sys.modules["scipy.stats"], "__file__")\n'
        'from scipy.stats import multivariate_normal\n'
        'assert not isinstance(multivariate_normal, quick_import._Later)\n'
    )
