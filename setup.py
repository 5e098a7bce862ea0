"""What is packaged; all other metadata, and the settings of the tools, are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
OPTIONS = 'vsrkd_plugin.options'  # the folder options/, which stands beside the package for those who read it here
_TARGET = r'\((?!https?:|mailto:|#)[^)\s]+\)'  # of a link inside the repository


def description_for_an_index(readme: str) -> str:
    """README for a package index, where there is no repository: relative links become their text, pictures a note."""
    readme = re.sub(rf'!\[([^\]]*)\]{_TARGET}', r'*(In the repository, a picture: \1.)*', readme)
    return re.sub(rf'\[([^\]]*)\]{_TARGET}', r'\1', readme)


(version,) = re.findall(r"^__version__ = '(.+)'$", (ROOT / 'vsrkd_plugin' / '__init__.py').read_text('utf-8'), re.M)

setup(
    version=version,
    long_description=description_for_an_index((ROOT / 'README.md').read_text('utf-8')),
    long_description_content_type='text/markdown',
    packages=[*find_packages(include=['vsrkd_plugin', 'vsrkd_plugin.*']), OPTIONS],
    package_dir={OPTIONS: 'options'},
    package_data={
        'vsrkd_plugin': ['py.typed'],
        'vsrkd_plugin.reports': ['page/*'],
        'vsrkd_plugin.run.zoo': ['*.pth', '*.md'],
        OPTIONS: ['*.yml', '*.json'],
    },
)
