"""ncnn (`.param` with a `.bin` beside it), converted by pnnx; sizes stay free."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.export.libraries import required
from vsrkd_plugin.deploy.export.tracing import quiet
from vsrkd_plugin.errors import UserError, first_line

EXTRA = 'ncnn'
SUFFIX = '.param'
PRECISIONS = ('fp32', 'fp16')
INPUT, OUTPUT = 'data', 'output'  # as Real-ESRGAN-ncnn-vulkan and its like ask for
_PATIENCE = 600  # seconds that pnnx may take
