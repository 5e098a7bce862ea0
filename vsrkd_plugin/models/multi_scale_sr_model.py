"""Stock SRModel for networks that serve several scales."""

from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.adapters.image_sr import with_chroma
from vsrkd_plugin.ops.averaging import update_ema
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.optim.factory import make_optimizer


def super_resolve(network: nn.Module, lq: Tensor, scale: int | None, interpolated: bool) -> Tensor:
    """Call a network as validation does.

    Args:
        network: bare or wrapped.
        lq: `(n, c, h, w)` in [0, 1], enlarged by bicubic where the network wants it so; of RGB a network of Y
            super-resolves Y, and chroma is enlarged by bicubic.
        scale: of the data set; None where it does not say, then the network's own default holds.
        interpolated: `lq` is at HR size already, so that networks of several scales must not enlarge it again.
    """
    contract = NetworkContract.of(network)
    given = lq
    if contract.pre_upsampling and not contract.multi_scale and scale is not None and not interpolated:
        given = bicubic_resize(lq, scale)
    arguments = {'scale': 1 if interpolated else scale} if scale is not None and contract.multi_scale else {}
    if contract.channels == 1 and lq.ndim == 4 and lq.shape[1] == 3:
        return with_chroma(lq, network(rgb_to_y(given), **arguments))
    return network(given, **arguments)


@MODEL_REGISTRY.register()
class MultiScaleSRModel(SRModel):
    """SRModel that tells the network each data set's scale, and cuts that many pixels off for the metrics.

    A network takes part by an attribute `multi_scale` and an argument `scale` of its `forward`; others are called as
    SRModel does. `crop_border` of a metric may be left out: it is the data set's scale then, as in the papers. What the
    network wants (values of another range, sizes of some multiple) it is given: `docs/your_network.md`.
    """

    interpolated = False  # the current data set gives LR at HR size already
    scale_of_set: int | None = None  # that the current data set's options tell

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As SRModel, and the network keeps to its contract from now on."""
        return super().model_to_device(self.complying(net))

    def complying(self, net: nn.Module) -> nn.Module:
        """`network_g`, or its average, with the options of its contract."""
        return comply(net, self.opt.get('contract_g') or {}, self.opt['network_g'])

    def init_training_settings(self) -> None:
        """As SRModel, whose average keeps to the contract too."""
        super().init_training_settings()
        if hasattr(self, 'net_g_ema'):
            self.complying(self.net_g_ema)

    def model_ema(self, decay: float = 0.999) -> None:
        """As SRModel, with the buffers: else a batch normalisation of the average would know no statistics."""
        update_ema(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    def get_optimizer(self, optim_type: str, params: list[Any], lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """As SRModel, of more kinds, Muon among them."""
        return make_optimizer({'type': optim_type, 'lr': lr, **kwargs}, params)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; `data['scale']`, where a data set gives it, is the scale of all its images, else the one of its
        options (BasicSR's data sets give none)."""
        super().feed_data(data)
        self.scale = int(data['scale'].flatten()[0]) if 'scale' in data else self.scale_of_set

    def test(self) -> None:
        """Super-resolve `self.lq` with the EMA network, if there is one."""
        net = getattr(self, 'net_g_ema', None) or self.net_g
        training = net.training
        net.eval()
        with torch.no_grad():
            self.output = super_resolve(net, self.lq, self.scale, self.interpolated)
        net.train(training)

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """As SRModel, with `crop_border` filled in."""
        self.interpolated = dataloader.dataset.opt.get('interpolate', False)
        self.scale_of_set = dataloader.dataset.opt.get('scale')
        stock = self.opt['val']
        metrics = stock.get('metrics')
        if metrics is not None:
            border = dataloader.dataset.opt.get('scale', 0)
            self.opt['val'] = {**stock, 'metrics': {k: {'crop_border': border, **v} for k, v in metrics.items()}}
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.opt['val'] = stock
