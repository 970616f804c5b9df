"""Tiny awkward CNNs: each asks one hard question of the pruner. All take (N, 3, 16, 16)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(i: int, o: int, k: int = 3, **kw: object) -> nn.Sequential:
    pad = k // 2
    return nn.Sequential(nn.Conv2d(i, o, k, padding=pad, bias=False, **kw), nn.BatchNorm2d(o))  # type: ignore[arg-type]


class Plain(nn.Module):
    """VGG in small: convolutions with bias, flatten to places, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(4),
        )
        self.classifier = nn.Sequential(
            nn.Linear(8 * 4, 10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Depthwise(nn.Module):
    """MobileNetV1 in small, with TensorFlow's padding written in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.dw = conv_bn(6, 12, groups=6)  # two filters a channel
        self.pw = conv_bn(12, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn(self.stem(F.pad(x, (0, 1, 0, 1)))))
        x = F.relu6(self.pw(F.relu6(self.dw(x))))
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """Sums couple layers; a squeeze-and-excitation gate multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv_bn(3, 8), conv_bn(8, 6), conv_bn(6, 8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.stem(x))
        y = self.b(F.relu(self.a(x)))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return self.head((x + y * torch.sigmoid(gate)).flatten(2).mean(-1))


class Dense(nn.Module):
    """Concatenations: each layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.Conv2d(9, 3, 1)
        self.bn, self.head = nn.BatchNorm2d(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, F.relu(self.b(x))], 1)
        return self.head(F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1).flatten(1))


class Shuffle(nn.Module):
    """Chunk, branch, cat, channel shuffle by views (ShuffleNet v2)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.last = conv_bn(3, 12), conv_bn(6, 6), conv_bn(12, 7)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        left, right = x.chunk(2, 1)
        x = torch.cat([left, F.relu(self.branch(right))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class Grouped(nn.Module):
    """Grouped convolutions both ways, group norm, PReLU, transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.GroupNorm(6, 12)
        self.many = nn.Conv2d(12, 12, 3, padding=1, groups=6)  # more groups than inputs
        self.few = nn.Conv2d(12, 8, 3, padding=1, groups=2)  # more inputs than groups
        self.slope, self.up = nn.PReLU(8), nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.many(F.silu(self.norm(self.stem(x)))))
        return self.head(F.relu(self.up(self.slope(self.few(x)))).mean((2, 3)))


class Attention(nn.Module):
    """Heads from one qkv layer by view, permute and matmul."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv = nn.Conv2d(3, 12, 4, stride=4), nn.Linear(12, 36)
        self.proj, self.head = nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)  # (N, 16, 12)
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 3, 4).permute(2, 0, 3, 1, 4)
        y = torch.softmax(q @ k.transpose(-2, -1) * 0.5, -1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, c))
        return self.head(x.mean(1))


class Scaled(nn.Module):
    """A layer scale, a frozen norm by hand, a standardised weight, a filled buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.gamma = nn.Parameter(torch.rand(8, 1, 1))
        self.register_buffer("var", torch.rand(8) + 0.5)
        self.last, self.head = nn.Conv2d(8, 6, 1), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        weight = self.a.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std(
            (1, 2, 3), keepdim=True
        )
        x = x + self.gamma * F.conv2d(x, weight, self.a.bias, padding=1)
        x = F.relu(self.last(x * (self.var + 1e-3).rsqrt().view(1, -1, 1, 1))).mean((2, 3))
        padded = x.new_zeros(x.shape[0], 10)
        padded[:, :6] = x
        return self.head(padded)


class Slices(nn.Module):
    """Unequal parts: a partial residual, a step, a roll, an unknown operator on one branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = conv_bn(3, 10), conv_bn(10, 14)
        self.b, self.c, self.head = conv_bn(7, 6), conv_bn(14, 6), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.a(x)
        y = torch.cat([y[:, :10] + x, y[:, 10:]], 1)
        left = F.relu(self.b(y[:, ::2]))
        right = F.relu(self.c(torch.roll(y, 3, 1)))
        return self.head(torch.cat([left, right], 1).amax((2, 3)))


class Gated(nn.Module):
    """Gated linear units, an option-A shortcut (strided, channels padded), einsum, an upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 20, 3, 2, 1)
        self.mix, self.head = nn.Parameter(torch.randn(7, 10)), nn.Linear(13, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        y = F.glu(self.gate(x), 1) + shortcut
        mixed = torch.einsum("nchw,oc->nohw", y, self.mix)
        both = torch.cat([F.interpolate(F.relu(mixed), scale_factor=2), x], 1)
        return self.head(both.mean((2, 3)))


class Fused(nn.Module):
    """Fused attention (its scale counts channels), an index, autocast and no_grad blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, stride=4)
        self.q, self.k, self.v = nn.Linear(12, 6), nn.Linear(12, 6), nn.Linear(12, 8)
        self.register_buffer("order", torch.tensor([3, 1, 0, 2, 7, 5]))
        self.register_buffer("window", torch.rand(12), persistent=False)
        self.head = nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = F.gelu(self.stem(x)).flatten(2).transpose(1, 2)
        y = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        with torch.no_grad():
            z = x * self.window
        return self.head(torch.cat([y[:, :, self.order], z], 2).sum(1))


class Tied(nn.Module):
    """One convolution used twice, its weight tied to another's; a recurrent use couples in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv_bn(3, 8), nn.Conv2d(8, 8, 3, padding=1), conv_bn(8, 6)
        self.c = nn.Conv2d(8, 8, 3, padding=1)
        self.c.weight = self.a.weight
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.c(F.relu(self.a(F.relu(self.a(x)))))
        return self.head(F.silu(self.b(x)).mean((2, 3)))


NETS: dict[str, type[nn.Module]] = {
    net.__name__: net
    for net in (
        Plain,
        Depthwise,
        Residual,
        Dense,
        Shuffle,
        Grouped,
        Attention,
        Scaled,
        Slices,
        Gated,
        Fused,
        Tied,
    )
}


def build(name: str, seed: int = 0) -> nn.Module:
    """A tiny network in float64, eval, with random statistics, so that nothing hides."""
    torch.manual_seed(seed)
    return randomised(NETS[name]())


def randomised(net: nn.Module) -> nn.Module:
    """``net`` in float64, eval, with random statistics and offsets."""
    net = net.double().eval()
    for key, buffer in net.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return net


def images(batch: int = 3, seed: int = 1, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)
