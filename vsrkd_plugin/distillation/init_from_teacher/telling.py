"""How far a start from the teacher is: on a large one it takes a minute and more."""

from typing import Any

from vsrkd_plugin.run.progress import Progress, progress


def layers_told(number: int) -> Progress[Any]:
    """Progress over layers that are weighed or fitted; to be updated after each."""
    return progress(number, 'starting from the teacher', 'layer')
