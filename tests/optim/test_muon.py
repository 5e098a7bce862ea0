"""Muon against the singular value decomposition, torch's Muon and torch's Adam."""

import copy

import pytest
import torch
from torch import nn

from vsrkd_plugin.optim.muon import Muon, orthogonalise


def _network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 3)
    )


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (network(x) - x[..., 1:-1, 1:-1]).abs().mean().backward()
        optimizer.step()


@pytest.mark.parametrize('shape', [(3, 12, 40), (2, 40, 12), (1, 16, 16)])
def test_orthogonalised_keeps_the_singular_vectors(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    # Newton-Schulz blows up singular values far below the largest only in part: judge those above a hundredth.
    inner = left.mT @ orthogonalise(matrices) @ right.mT
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 1e-4
    kept = values > 0.01 * values.amax(1, keepdim=True)
    assert kept.float().mean() > 0.9
    assert diagonal[kept].min() > 0.6 and diagonal[kept].max() < 1.3


def test_zero_stays_zero() -> None:
    assert orthogonalise(torch.zeros(2, 3, 4)).abs().max() == 0


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='this torch has no Muon to compare with')
def test_matrices_step_as_torchs_muon() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(12, 3, 3, 3).repeat(1, 3, 1, 1))
    theirs = nn.Parameter(ours.detach().flatten(1).clone())
    pair = (
        Muon([ours], lr=0.01, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.01, momentum=0.9, weight_decay=0.1),
    )
    before = theirs.detach().clone()
    for _ in range(5):
        gradient = torch.randn(12, 81)
        ours.grad, theirs.grad = gradient.view_as(ours).clone(), gradient.clone()
        for optimizer in pair:
            optimizer.step()
    moved = (theirs - before).norm()
    assert (ours.flatten(1) - theirs).norm() < 0.02 * moved  # torch iterates in bf16


def test_others_step_as_adam() -> None:
    network = _network()
    reference = copy.deepcopy(network)
    for net in (network, reference):
        for parameter in net.parameters():
            parameter.requires_grad_(parameter.ndim == 1)  # biases only: no matrix moves
    ours = Muon([p for p in network.parameters() if p.requires_grad], lr_other=1e-3)
    adam = torch.optim.Adam([p for p in reference.parameters() if p.requires_grad], 1e-3, (0.9, 0.99))
    _train(network, ours, 5)
    _train(reference, adam, 5)
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_step_of_a_matrix_has_the_norm_lr() -> None:
    network = _network()
    before = network[1].weight.detach().clone()
    _train(network, Muon(network.parameters(), lr=0.01), 1)
    norm = torch.linalg.matrix_norm((network[1].weight - before).flatten(1), 2)
    assert 0.006 < norm < 0.013


def test_first_and_last_layer_are_no_matrices() -> None:
    network = _network()
    optimizer = Muon(network.parameters())
    matrices, others = (group['params'] for group in optimizer.param_groups)
    assert [id(p) for p in matrices] == [id(network[1].weight), id(network[2].weight)]
    assert len(others) == 6


def test_layers_without_gradient_stay() -> None:
    network = _network()
    before = copy.deepcopy(network[2].state_dict())
    optimizer = Muon(network.parameters())
    network[2].requires_grad_(False)
    _train(network, optimizer, 3)
    assert all(torch.equal(value, before[name]) for name, value in network[2].state_dict().items())
    assert network[2].weight not in optimizer.state or not optimizer.state[network[2].weight]


def test_goes_on_bit_for_bit_from_a_state() -> None:
    whole, first = _network(), _network()
    _train(whole, Muon(whole.parameters()), 6)
    optimizer = Muon(first.parameters())
    _train(first, optimizer, 3)
    again = copy.deepcopy(first)
    resumed = Muon(again.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _train(again, resumed, 3, first=3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_learns_faster_than_adam_where_a_few_directions_dominate() -> None:
    """A linear layer behind inputs of very unlike size: the small directions decide, and Adam comes to them last."""
    losses = {}
    for kind in ('muon', 'adam'):
        torch.manual_seed(0)
        mixing = torch.linalg.qr(torch.randn(16, 16))[0] * torch.logspace(0, -2, 16)
        target, layer = torch.randn(16, 16) / 4, nn.Linear(16, 16, bias=False)
        optimizer = Muon(layer.parameters(), lr=0.05) if kind == 'muon' else torch.optim.Adam(layer.parameters(), 0.05)
        for step in range(200):
            for group in optimizer.param_groups:
                group['lr'] = 0.05 * (1 - step / 200)
            x = torch.randn(64, 16) @ mixing.T
            optimizer.zero_grad()
            (layer(x) - x @ target.T).square().mean().backward()
            optimizer.step()
        losses[kind] = (layer.weight - target).square().mean().item()
    assert losses['muon'] < losses['adam']


@pytest.mark.parametrize(
    'wrong', [{'lr': 0.0}, {'lr_other': -1.0}, {'momentum': 1.0}, {'betas': (0.9, 1.5)}, {'weight_decay': -0.1}]
)
def test_wrong_values_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r'expected|must lie'):
        Muon(_network().parameters(), **wrong)
