"""Names of shipped weights."""

import re
from pathlib import Path

import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.clips import frame_metrics
from vsrkd_plugin.run import zoo
from vsrkd_plugin.run.checkpoints import load_weights, read_weights


@pytest.fixture
def small_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ('vdsr_x234', 'another'):
        torch.save({'params': {'weight': torch.arange(3.0)}}, tmp_path / f'{name}.pth')
        (tmp_path / f'{name}.md').write_text('card')
    monkeypatch.setattr(zoo, '_FOLDER', tmp_path)
    return tmp_path


def test_names_and_places(small_zoo: Path) -> None:
    assert zoo.names() == ['another', 'vdsr_x234']
    assert zoo.resolve_weights('zoo:vdsr_x234') == small_zoo / 'vdsr_x234.pth'
    assert torch.equal(read_weights('zoo:vdsr_x234')['weight'], torch.arange(3.0))


def test_unknown_name_tells_the_nearest(small_zoo: Path) -> None:
    with pytest.raises(UserError, match=r'zoo:vdsr_x23: .*another, vdsr_x234; did you mean zoo:vdsr_x234\?'):
        zoo.resolve_weights('zoo:vdsr_x23')
    with pytest.raises(UserError, match=r'has another, vdsr_x234$'):
        zoo.resolve_weights('zoo:qqqqqq')
    with pytest.raises(UserError):
        zoo.resolve_weights('zoo:../zoo/another')


def test_anything_else_is_a_path() -> None:
    assert zoo.resolve_weights('some/file.pth') == Path('some/file.pth')
    assert zoo.resolve_weights(Path('file.pth')) == Path('file.pth')
    assert zoo.resolve_weights('~/file.pth') == Path.home() / 'file.pth'


def test_shipped_weights_are_readable_small_and_have_a_card() -> None:
    assert {'vdsr_x234', 'vdsr_s_x234', 'rlsp_x4'} <= set(zoo.names())
    for name in zoo.names():
        file = zoo.resolve_weights(f'zoo:{name}')
        assert read_weights(f'zoo:{name}')
        assert file.with_suffix('.md').is_file(), f'{name} has no model card'
        assert file.stat().st_size <= 3_000_000


@pytest.mark.parametrize(('name', 'num_feat'), [('vdsr_x234', 64), ('vdsr_s_x234', 32)])
def test_shipped_networks_give_their_cards_figures(name: str, num_feat: int) -> None:
    """PSNR on the bundled pictures, within 0.02 dB of the card, at every scale."""
    card = (Path(zoo.__file__).parent / f'{name}.md').read_text(encoding='utf-8')
    figures = re.search(r'\| skimage \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|', card).groups()
    network = VDSR(num_feat=num_feat).eval()
    load_weights(network, f'zoo:{name}')
    for scale, expected in zip((2, 3, 4), figures, strict=True):
        options = {'name': 's', 'phase': 'val', 'dataroot_gt': 'skimage', 'color': 'y', 'scale': scale}
        dataset = BicubicImageDataset(options)
        metric = {'type': 'calculate_psnr', 'crop_border': scale, 'test_y_channel': True}
        psnr = 0.0
        for sample in dataset:
            with torch.no_grad():
                sr = network(sample['lq'][None], scale)
            psnr += calculate_metric({'img': tensor2img([sr]), 'img2': tensor2img([sample['gt'][None]])}, metric)
        assert psnr / len(dataset) == pytest.approx(float(expected), abs=0.02)


@torch.no_grad()
def test_shipped_video_network_gives_its_cards_figure() -> None:
    """PSNR on the bundled photographs in motion, within 0.02 dB of the card."""
    card = (Path(zoo.__file__).parent / 'rlsp_x4.md').read_text(encoding='utf-8')
    expected = float(re.search(r'\| skimage in motion \| [\d.]+ \| \*?\*?([\d.]+)', card).group(1))
    network = RLSP(num_feat=64, normalised=True)
    load_weights(network, 'zoo:rlsp_x4')
    network = VideoSRAdapter(network.eval(), 4, {'type': 'RLSP'}, lr_size=64)
    gains = []  # by neighbouring frames: over a still clip of the seventh frame, of which the card tells as well
    options = {'name': 's', 'phase': 'val', 'dataroot_gt': 'skimage', 'scale': 4, 'degradation': 'blur'}
    metrics = {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}}
    found = []
    for sample in DegradedClipDataset(options):
        frames = frame_metrics(network(sample['lq'][None])[0], sample['gt'], metrics)['psnr']
        still = network(sample['lq'][[6] * 5][None])[0, 4:]
        gains.append(frames[6] - frame_metrics(still, sample['gt'][6:7], metrics)['psnr'][0])
        found += frames
    assert sum(found) / len(found) == pytest.approx(expected, abs=0.02)
    told = float(re.search(r'it\s+is ([\d.]+) dB worse', card).group(1))
    assert sum(gains) / len(gains) == pytest.approx(told, abs=0.1)
