"""Teachers at random, inspected once."""

from functools import lru_cache

import torch
from basicsr.archs import build_network

from vsrkd_plugin.inspection.recognising import Candidate
from vsrkd_plugin.inspection.teacher import Inspection, _complete, _measured, _video
from vsrkd_plugin.registration import register

register()
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_conv': 16, 'upscale': 4,
           'act_type': 'prelu'}  # fmt: skip
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 32, 'num_block': 2, 'upscale': 2}
VDSR = {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 16, 'num_block': 3}
RLSP = {'type': 'RLSP', 'num_feat': 32, 'num_layer': 4, 'upscale': 4, 'normalised': True}


def inspected(options: dict) -> Inspection:
    return _inspected(tuple(options.items()))


@lru_cache
def _inspected(items: tuple) -> Inspection:
    options = dict(items)
    torch.manual_seed(0)
    network = build_network(dict(options)).eval()
    is_video = options['type'] == 'RLSP'
    candidate = Candidate(options, network.state_dict(), is_video=is_video)
    if is_video:
        return _complete(_video('teacher.pth', candidate, network, {}))
    return _complete(_measured('teacher.pth', candidate, {}, False))
