"""Which channels belong together: small networks against what one sees by looking at them."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.distillation.init_from_teacher.channel_graph import ChannelGraph, Sum, choose
from vsrkd_plugin.distillation.init_from_teacher.importance import Reading


class _Net(nn.Module):
    """Layers by name, and a function of them and the image."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _conv(inputs: int, outputs: int, size: int = 1, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **settings)


def _graph(network: nn.Module) -> ChannelGraph:
    with torch.no_grad():
        return ChannelGraph.of(network, network, torch.rand(2, 3, 8, 8))


def _groups(graph: ChannelGraph) -> set[tuple[str, int]]:
    """'a0 b1' for dimension 0 of a's weight and 1 of b's, and how many channels belong to both."""
    groups = set()
    for signature, channels in graph.groups.items():
        slots = sorted(f'{name.removesuffix(".weight")}{dim}' for name, dim, mark in signature if not mark)
        groups.add((' '.join(slots), len(channels)))
    return groups


_ENDS = {('<input>1 a1', 3), ('<output>1 z0', 3)}


def test_a_chain() -> None:
    network = _Net(lambda n, x: n.z(F.relu(n.a(x))), a=_conv(3, 8, 3), z=_conv(8, 3))
    assert _groups(_graph(network)) == {*_ENDS, ('a0 z1', 8)}


def test_a_residual_block() -> None:
    def forward(n: nn.Module, x: Tensor) -> Tensor:
        x = n.a(x)
        return n.z(x + n.c(F.relu(n.b(x))) * 0.5)

    network = _Net(forward, a=_conv(3, 8), b=_conv(8, 6, 3), c=_conv(6, 8, 3), z=_conv(8, 3))
    graph = _graph(network)
    assert _groups(graph) == {*_ENDS, ('a0 b1 c0 z1', 8), ('b0 c1', 6)}
    names = [operation.name for operation in graph.operations]
    assert graph.sums == {'c': Sum((names.index('add'), 0), (names.index('convolution'), 0), 0.5)}


def test_a_sum_that_comes_before_the_layer_is_no_trunk() -> None:
    """The other operand must be there when the layer is fitted; and its output must go nowhere else."""
    late = _Net(lambda n, x: n.z(n.b(x) + n.a(x)), a=_conv(3, 8), b=_conv(3, 8), z=_conv(8, 3))
    assert set(_graph(late).sums) == {'a'}

    def twice(n: nn.Module, x: Tensor) -> Tensor:
        first = n.a(x)
        second = n.b(x)
        return n.z(first + second) + n.z(second)

    assert 'b' not in _graph(_Net(twice, a=_conv(3, 8), b=_conv(3, 8), z=_conv(8, 3))).sums


def test_split_and_concatenation() -> None:
    def forward(n: nn.Module, x: Tensor) -> Tensor:
        kept, rest = n.a(x).split((2, 6), 1)
        return n.z(torch.cat([kept, n.b(rest)], 1))

    network = _Net(forward, a=_conv(3, 8), b=_conv(6, 4), z=_conv(6, 3))
    assert _groups(_graph(network)) == {*_ENDS, ('a0 z1', 2), ('a0 b1', 6), ('b0 z1', 4)}


@pytest.mark.parametrize('groups', [1, 2])
def test_convolutions_in_groups(groups: int) -> None:
    depthwise = _Net(lambda n, x: n.z(n.b(n.a(x))), a=_conv(3, 8), b=_conv(8, 8, 3, groups=8), z=_conv(8, 3))
    assert _groups(_graph(depthwise)) == {*_ENDS, ('a0 b0 z1', 8)}
    grouped = _Net(lambda n, x: n.z(n.b(n.a(x))), a=_conv(3, 8), b=_conv(8, 4, groups=groups), z=_conv(4, 3))
    assert _groups(_graph(grouped)) == {*_ENDS, ('a0 b1', 8 // groups), ('b0 z1', 4 // groups)}


def test_pixel_shuffle_keeps_what_becomes_one_channel() -> None:
    network = _Net(lambda n, x: n.z(F.pixel_shuffle(n.a(x), 2)), a=_conv(3, 16), z=_conv(4, 3))
    graph = _graph(network)
    assert _groups(graph) == {*_ENDS, ('a0 z1', 4)}
    assert [position for _, position in graph.where['a.weight', 0]] == [i // 4 for i in range(16)]


def test_one_channel_belongs_to_what_several_would() -> None:
    graphs = [_graph(_Net(lambda n, x: n.z(n.a(x)), a=_conv(3, width), z=_conv(width, 3))) for width in (4, 1)]
    assert _groups(graphs[1]) == {*_ENDS, ('a0 z1', 1)}
    assert len(choose(*graphs, {})['z.weight', 1]) == 1


def test_gates_norms_and_slopes() -> None:
    def forward(n: nn.Module, x: Tensor) -> Tensor:
        x = n.p(n.a(x))
        x = x * n.c(F.relu(n.b(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = x * n.e(x).sigmoid()  # one channel: for all
        return n.z(n.g(x) * n.s)

    layers = {
        'a': _conv(3, 8),
        'p': nn.PReLU(8),
        'b': _conv(8, 2),
        'c': _conv(2, 8),
        'e': _conv(8, 1),
        'z': _conv(8, 3),
    }
    network = _Net(forward, g=nn.BatchNorm2d(8).eval(), s=nn.Parameter(torch.ones(1, 8, 1, 1)), **layers)
    together = 'a0 b1 c0 e1 g.bias0 g.running_mean0 g.running_var0 g0 p0 s1 z1'
    alone = {('e0', 1), ('s0', 1)}  # dimensions of size 1
    assert _groups(_graph(network)) == {*_ENDS, (together, 8), ('b0 c1', 2), *alone}


def _attention(n: nn.Module, x: Tensor, fused: bool = False) -> Tensor:
    batch, _, height, width = x.shape
    x = n.a(x).flatten(2).transpose(1, 2)
    query, key, value = n.q(n.n(x)).reshape(batch, height * width, 3, 2, -1).permute(2, 0, 3, 1, 4)
    if fused:
        mixed = F.scaled_dot_product_attention(query, key, value)
    else:
        mixed = ((query @ key.transpose(-2, -1)) * 0.5 + n.h.view(1, 2, 1, 1)).softmax(-1) @ value
    x = x + n.p(mixed.transpose(1, 2).flatten(2))
    return n.z(x.transpose(1, 2).reshape(batch, -1, height, width))


@pytest.mark.parametrize('fused', [False, True])
def test_attention_keeps_heads_apart(fused: bool) -> None:
    def linear(inputs: int, outputs: int) -> nn.Linear:
        return nn.Linear(inputs, outputs, bias=False)

    layers = {
        'a': _conv(3, 8),
        'h': nn.Parameter(torch.ones(2)),
        'n': nn.LayerNorm(8),
        'q': linear(8, 24),
        'p': linear(8, 8),
        'z': _conv(8, 3),
    }
    graph = _graph(_Net(lambda n, x: _attention(n, x, fused), **layers))
    heads = {('h0', 2 if fused else 1)}  # of a table with one value a head
    assert _groups(graph) == {*_ENDS, ('a0 n.bias0 n0 p0 q1 z1', 8), ('q0', 4), ('p1 q0', 4), *heads}
    inside = [tuple(signature) for signature in graph.groups if ('q.weight', 0, '') in signature]
    assert len(inside) == 4  # of each head: queries with their keys, values
    rows = graph.where['q.weight', 0]
    assert rows[:8] == rows[8:16] and len({signature for signature, _ in rows[:8]}) == 2
    assert rows[:4] != rows[4:8]


def test_attention_between_channels() -> None:
    """As Restormer's: queries and keys are compared channel by channel, values belong to keys."""

    def forward(n: nn.Module, x: Tensor) -> Tensor:
        query, key, value = n.q(x).flatten(2).chunk(3, 1)
        mixed = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(1, 2)
        return n.z((mixed.softmax(-1) @ value).view(len(x), -1, *x.shape[2:]))

    network = _Net(forward, q=_conv(3, 12), z=_conv(4, 3))
    assert _groups(_graph(network)) == {('<input>1 q1', 3), ('<output>1 z0', 3), ('q0 z1', 4), ('q0', 4)}


def test_windows_and_writing_in_place() -> None:
    def forward(n: nn.Module, x: Tensor) -> Tensor:
        x = n.a(x)
        windows = x.roll((1, 1), (2, 3)).reshape(len(x), 8, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1)
        back = torch.zeros_like(x)
        back[:, :, :] = windows.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
        back += F.pad(F.interpolate(x[:, :, ::2, ::2], scale_factor=2, mode='bilinear')[..., 1:, 1:], (1, 0, 0, 1))
        return n.z(back)

    assert _groups(_graph(_Net(forward, a=_conv(3, 8), z=_conv(8, 3)))) == {*_ENDS, ('a0 z1', 8)}


def test_weights_that_are_computed() -> None:
    """A convolution behind another, folded into one kernel, as networks do that are trained in a wider form."""

    def forward(n: nn.Module, x: Tensor) -> Tensor:
        kernel = F.conv2d(n.b.weight, n.a.weight.permute(1, 0, 2, 3))
        return n.z(F.conv2d(x, kernel, padding=1))

    network = _Net(forward, a=_conv(3, 6), b=_conv(6, 8, 3), z=_conv(8, 3))
    assert _groups(_graph(network)) == {*_ENDS, ('a0 b1', 6), ('b0 z1', 8)}


def test_choosing_by_what_reads_the_channels() -> None:
    """A channel that is read counts, one that is loud and not read does not; a copy of one that is kept neither."""
    graphs = [_graph(_Net(lambda n, x: n.z(n.a(x)), a=_conv(3, width), z=_conv(width, 3))) for width in (4, 2)]
    rows = torch.randn(500, 4) * torch.tensor([9.0, 1.0, 1.0, 0.5])
    rows[:, 2] = rows[:, 1]
    weight = torch.tensor([[0.001, 1.0, 1.0, 1.0]])
    chosen = choose(*graphs, {('z.weight', 1): Reading.of(rows, weight)})
    assert chosen['z.weight', 1].tolist() == chosen['a.weight', 0].tolist() == [1, 3]
    assert chosen['a.weight', 1].tolist() == [0, 1, 2]


def test_what_cannot_be_chosen() -> None:
    def chain(width: int) -> ChannelGraph:
        return _graph(_Net(lambda n, x: n.z(n.a(x)), a=_conv(3, width), z=_conv(width, 3)))

    with pytest.raises(ValueError, match=r'^a\.weight: a student of 8 channels cannot start from a teacher of 4$'):
        choose(chain(4), chain(8), {})
    added = _graph(_Net(lambda n, x: n.z(n.a(x)) + x, a=_conv(3, 4), z=_conv(4, 3)))
    with pytest.raises(ValueError, match='belong together otherwise than in the teacher'):
        choose(chain(4), added, {})

    def mixed(width: int) -> ChannelGraph:  # by a matrix that is no weight
        return _graph(
            _Net(
                lambda n, x: n.z((torch.ones(width, width) @ n.a(x).flatten(2)).view(len(x), -1, 8, 8)),
                a=_conv(3, width),
                z=_conv(width, 3),
            )
        )

    with pytest.raises(ValueError, match=r"a\.weight: its size must be the teacher's, 8, got 4$"):
        choose(mixed(8), mixed(4), {})


def test_an_operation_without_a_rule_is_named_with_its_module() -> None:
    network = nn.Sequential(_conv(3, 8), _Net(lambda n, x: torch.fft.ifft2(torch.fft.fft2(x)).real), _conv(8, 3))
    with pytest.raises(ValueError, match=r'^1: no rule is known for the operation _fft'):
        _graph(network)


def test_a_network_that_gives_no_image() -> None:
    with pytest.raises(ValueError, match='expected a network that gives one image'):
        _graph(_Net(lambda n, x: n.a(x).mean((2, 3)), a=_conv(3, 4)))
