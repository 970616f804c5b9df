"""Tiny networks with branches, and which of their groups may vanish. All take (N, 3, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import Graph, trace
from tests.nets import conv_bn, images, randomised


class Blocks(nn.Module):
    """A stem, a middle that each network below writes, a pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv_bn(3, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.middle(F.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Identity(Blocks):
    """ResNet's basic block, then one of pre-activation whose reader has a bias and no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(8, 6), conv_bn(6, 8)
        self.norm, self.c, self.d = nn.BatchNorm2d(8), conv_bn(8, 4, 1), nn.Conv2d(4, 8, 3)

    def middle(self, x: Tensor) -> Tensor:
        x = F.relu(x + self.b(F.relu(self.a(x))))
        return x[:, :, 1:-1, 1:-1] + 0.5 * self.d(F.silu(self.c(self.norm(x))))


class Projection(Blocks):
    """ResNet's bottleneck with a strided projection beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv_bn(8, 4, 1), conv_bn(4, 6, stride=2), conv_bn(6, 8, 1)
        self.shortcut = conv_bn(8, 8, 1, stride=2)

    def middle(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x))))) + self.shortcut(x)


class Inverted(Blocks):
    """MobileNetV3's block: expanded, depthwise, a gate of its own, projected; then one without a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv_bn(8, 12, 1), conv_bn(12, 12, groups=12), conv_bn(12, 8, 1)
        self.squeeze, self.excite = nn.Conv2d(12, 3, 1), nn.Conv2d(3, 12, 1)
        self.d, self.e = conv_bn(8, 10, 1), conv_bn(10, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        y = F.hardswish(self.b(F.hardswish(self.a(x))))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        x = x + self.c(y * F.hardsigmoid(gate))
        return self.e(F.relu(self.d(x)))


class Squeezed(Blocks):
    """SE-ResNet: the gate, of linear layers, lies behind the branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(8, 6), conv_bn(6, 8)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8, bias=False)

    def middle(self, x: Tensor) -> Tensor:
        y = self.b(F.relu(self.a(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        return x + y * gate.view(len(y), -1, 1, 1)


class Concatenated(Blocks):
    """DenseNet: each layer reads all before it; its own bottleneck cannot vanish without it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(8, 5, 1), nn.Conv2d(5, 4, 3, padding=1)
        self.c, self.norm, self.d = nn.Conv2d(12, 3, 1), nn.BatchNorm2d(15), nn.Conv2d(15, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.b(F.relu(self.a(x)))], 1)
        x = torch.cat([x, F.relu(self.c(x))], 1)
        return self.d(F.relu(self.norm(x)))


class Parallel(Blocks):
    """Either of two branches can vanish, both cannot: nothing would follow the input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(8, 4, 1),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.Conv2d(4, 8, 1),
        )
        self.d = nn.Conv2d(4, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.a(x))) + self.d(F.relu(self.b(x)))


class Edged(Blocks):
    """What is even does not stay so under a padded convolution, nor in a sum over places: a stays."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 6, 1)
        self.c, self.d = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(4, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return x + self.c(F.relu(self.b(y))) + self.d(y).sum((2, 3), keepdim=True)


class Permuted(Blocks):
    """ConvNeXt's block: linear layers on the last axis, a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 8)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))

    def middle(self, x: Tensor) -> Tensor:
        y = self.b(F.gelu(self.a(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        return x + self.scale * y


class Sequence(Blocks):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(8, 6), conv_bn(6, 8)

    def middle(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))


# Which groups may vanish alone, and what is then no group any more; read off the drawings by hand.
NETS: dict[type[nn.Module], dict[str, set[str]]] = {
    Identity: {"a.0": {"a.0"}, "c.0": {"c.0"}},
    Projection: {"a.0": {"a.0", "b.0"}, "b.0": {"a.0", "b.0"}},
    Inverted: {"a.0": {"a.0", "squeeze"}, "squeeze": {"squeeze"}},
    Squeezed: {"a.0": {"a.0", "squeeze"}, "squeeze": {"squeeze"}},
    Concatenated: {"b": {"a.0", "b"}, "c": {"c"}},
    Parallel: {"a": {"a"}, "b": {"b"}},
    Edged: {"b": {"b"}},
    Permuted: {"a": {"a"}},
    Sequence: {},
}


def traced(net: type[nn.Module]) -> Graph:
    torch.manual_seed(0)
    return trace(randomised(net()), images(2))
