"""Packaging of vsrkd_plugin; settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name='vsrkd_plugin',
    version='0.1.0',
    description='Data-free knowledge distillation of super-resolution networks, as a plugin for BasicSR',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['vsrkd_plugin', 'vsrkd_plugin.*']),
    package_data={'vsrkd_plugin.run.zoo': ['*.pth', '*.md']},
    python_requires='>=3.10,<3.13',
    install_requires=[
        'basicsr==1.4.2',
        'lmdb',
        'matplotlib',
        'mmengine>=0.10',
        'numpy',
        'opencv-python',
        'pillow',
        'pyyaml',
        'scikit-image',
        'torch>=2.4',
        'torchvision>=0.19',
    ],
    extras_require={'test': ['pytest>=7', 'scipy', 'ruff']},
    entry_points={
        'console_scripts': ['basicsr = vsrkd_plugin.cli:main', 'vsrkd = vsrkd_plugin.cli:main'],
        'basicsr.plugins': ['vsrkd_plugin = vsrkd_plugin.registration:register'],
    },
)
