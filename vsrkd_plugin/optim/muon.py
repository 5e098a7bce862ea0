"""Muon: an optimiser whose step of a weight matrix has the same size in all directions, whatever the gradient's is.

A plain chain of twenty convolutions is badly conditioned: under Adam a few directions of each layer's gradient take the
whole step, and a rate at which the others would move breaks the network. VDSR 64 → 32 channels after 650 steps of 16
patches: the student agrees with its teacher to 42.8 dB with Muon at 2e-3, to 41.8 dB with Adam at 5e-4 (1.5e-3: 37.5).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: steepest at 0, singular values end in about 0.7 … 1.2


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: all singular values become about 1.

    Newton-Schulz iteration of the fifth degree (Jordan et al., 'Muon: An optimizer for hidden layers in neural
    networks', 2024).

    Args:
        matrices: `(n, rows, columns)`.
        steps: iterations.

    Returns:
        `(n, rows, columns)`; zero where a matrix is zero.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for the weights of hidden layers, Adam for all other parameters (first and last layer, biases, norms).

    A convolution's weight counts as the matrix `(out_channels, in_channels * kernel)`. Matrices of one shape are
    orthogonalised at once. Parameters without a gradient (blocks not yet grown) are left alone.

    Args:
        params: parameters, not groups of them.
        lr: spectral norm of a step of a matrix.
        momentum: decay of the gradient's average.
        lr_other: learning rate of Adam, for the other parameters.
        betas, eps: of Adam.
        weight_decay: decoupled, for the matrices.
        least_width: a weight with fewer input or output channels is not a matrix.

    Raises:
        ValueError: a rate, momentum or decay out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 2e-3,
        momentum: float = 0.95,
        lr_other: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        least_width: int = 8,
    ) -> None:
        if lr <= 0 or lr_other <= 0 or eps <= 0 or weight_decay < 0:
            raise ValueError(
                f'expected lr, lr_other and eps above 0 and weight_decay not negative, got {lr}, {lr_other}, '
                f'{eps} and {weight_decay}'
            )
        if not all(0 <= decay < 1 for decay in (momentum, *betas)):
            raise ValueError(f'momentum and betas must lie in [0, 1), got {momentum} and {betas}')
        params = list(params)
        matrices = [p for p in params if p.ndim > 1 and min(p.shape[:2]) >= least_width]
        others = [p for p in params if p.ndim <= 1 or min(p.shape[:2]) < least_width]
        groups = [
            {'params': matrices, 'lr': lr, 'momentum': momentum, 'weight_decay': weight_decay, 'matrices': True},
            {'params': others, 'lr': lr_other, 'betas': tuple(betas), 'eps': eps, 'matrices': False},
        ]
        super().__init__([group for group in groups if group['params']], {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; `closure`, if given, is called first for its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            active = [p for p in group['params'] if p.grad is not None]
            (self._step_matrices if group['matrices'] else self._step_others)(group, active)
        return loss

    def _step_matrices(self, group: dict[str, Any], active: list[nn.Parameter]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in active:
            if not self.state[parameter]:
                self.state[parameter]['momentum'] = torch.zeros_like(parameter)
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for alike in by_shape.values():
            gradients = [p.grad for p in alike if p.grad is not None]  # all of them have one
            averages = [self.state[p]['momentum'] for p in alike]
            torch._foreach_lerp_(averages, gradients, 1 - group['momentum'])
            ahead = torch._foreach_lerp(gradients, averages, group['momentum'])  # Nesterov
            updates = orthogonalise(torch.stack([update.flatten(1) for update in ahead]))
            if group['weight_decay']:
                torch._foreach_mul_(alike, 1 - group['lr'] * group['weight_decay'])
            for matrix, update in zip(alike, updates, strict=True):
                matrix.add_(update.view(matrix.shape), alpha=-group['lr'])

    def _step_others(self, group: dict[str, Any], active: list[nn.Parameter]) -> None:
        fast, slow = group['betas']
        for parameter in active:
            state = self.state[parameter]
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state['step'] += 1
            state['mean'].lerp_(parameter.grad, 1 - fast)
            state['square'].mul_(slow).addcmul_(parameter.grad, parameter.grad, value=1 - slow)
            scale = (state['square'] / (1 - slow ** state['step'])).sqrt_().add_(group['eps'])
            parameter.addcdiv_(state['mean'], scale, value=-group['lr'] / (1 - fast ** state['step']))
