"""Small, faithful networks of clips, volumes, points, sound, odd operators, for :mod:`beyond`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from cases_networks import conv
from torch import Tensor, nn

# -- clips, volumes, points -----------------------------------------------------------------------


class X3D(nn.Module):
    """A clip: time apart from space, depthwise, squeeze and excite (Feichtenhofer 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 12, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.Conv3d(12, 12, (5, 1, 1), 1, (2, 0, 0), groups=12, bias=False), nn.BatchNorm3d(12), nn.ReLU(),
        )  # fmt: skip
        self.wide = nn.Sequential(nn.Conv3d(12, 28, 1, bias=False), nn.BatchNorm3d(28), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv3d(28, 28, 3, 1, 1, groups=28, bias=False), nn.BatchNorm3d(28)
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(28, 8, 1),
            nn.ReLU(),
            nn.Conv3d(8, 28, 1),
            nn.Sigmoid(),
        )
        self.thin, self.last = (
            nn.Sequential(nn.Conv3d(28, 12, 1, bias=False), nn.BatchNorm3d(12)),
            nn.Linear(12, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.deep(self.wide(x))
        z: Tensor = self.last(F.relu(x + self.thin(F.silu(y * self.gate(y)))).mean((2, 3, 4)))
        return z


class VNet(nn.Module):
    """A volume's mask (Milletari et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.b = (
            nn.Conv3d(1, 12, 3, padding=1),
            nn.Conv3d(12, 24, 2, 2),
            nn.Conv3d(24, 24, 3, padding=1),
        )
        self.up, self.c, self.last = (
            nn.ConvTranspose3d(24, 12, 2, 2),
            nn.Conv3d(24, 12, 3, padding=1),
            nn.Conv3d(12, 2, 1),
        )
        self.p, self.q = nn.PReLU(12), nn.PReLU(24)

    def forward(self, x: Tensor) -> Tensor:
        a = self.p(self.a(x) + x.expand(-1, 12, -1, -1, -1))
        b = self.q(self.down(a))
        b = self.q(self.b(b) + b)
        z: Tensor = self.last(F.elu(self.c(torch.cat([self.up(b), a], 1))))
        return z


class TemporalShift(nn.Module):
    """A share of the channels comes from the frame before, another from the one after (Lin et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.last = conv(3, 32, s=2), conv(32, 32), nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        y = self.stem(x.flatten(0, 1))
        y = y + self.a(self.shifted(y.view(n, t, *y.shape[1:])).flatten(0, 1))
        z: Tensor = self.last(y.mean((2, 3))).view(n, t, -1).mean(1)
        return z

    def shifted(self, y: Tensor) -> Tensor:
        fold = 4
        out = torch.zeros_like(y)
        out[:, :-1, :fold] = y[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = y[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = y[:, :, 2 * fold :]
        return out


class FramesLSTM(nn.Module):
    """A convolutional network a frame, an LSTM over the frames (Donahue et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 16, s=2), conv(16, 24, s=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.rnn, self.last = nn.LSTM(24, 20, num_layers=2, batch_first=True), nn.Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        y, (hidden, _) = self.rnn(self.body(x.flatten(0, 1)).view(n, t, -1))
        z: Tensor = self.last(y[:, -1] + hidden[-1])
        return z


class PointNet(nn.Module):
    """A cloud of points: turned, the largest over all points (Qi et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Sequential(
            nn.Conv1d(3, 16, 1),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
            nn.Linear(16, 9),
        )
        self.a, self.n = nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32)
        self.b, self.m = nn.Conv1d(32, 48, 1), nn.BatchNorm1d(48)
        self.part, self.last = nn.Conv1d(80, 4, 1), nn.Linear(48, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        turn = self.turn(x).view(-1, 3, 3) + torch.eye(3, dtype=x.dtype)
        x = torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)
        a = F.relu(self.n(self.a(x)))
        whole = torch.max(self.m(self.b(a)), 2, keepdim=True)[0]
        return self.last(whole.flatten(1)), self.part(
            torch.cat([a, whole.repeat(1, 1, a.shape[2])], 1)
        )


# -- sound and signals -----------------------------------------------------------------------------


class KeywordSTFT(nn.Module):
    """Keyword spotting on the wave itself: stft, log, convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))
        self.body = nn.Sequential(conv(1, 16, s=2), conv(16, 32, s=2), conv(32, 32))
        self.last = nn.Linear(32, 12)

    def forward(self, wave: Tensor) -> Tensor:
        window: Any = self.window
        found = torch.stft(wave, 128, 64, window=window.to(wave.dtype), return_complex=True).abs()
        z: Tensor = self.last(self.body(found[:, None].clamp_min(1e-6).log()).mean((2, 3)))
        return z


class TCN(nn.Module):
    """Dilated causal convolutions with weight norm (Bai et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        from torch.nn.utils.parametrizations import weight_norm

        widths = (6, 24, 24, 32)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(i, o, 3, padding=2 * d, dilation=d))
            for i, o, d in zip(widths, widths[1:], (1, 2, 4), strict=False)
        )
        self.sides = nn.ModuleList(nn.Conv1d(i, o, 1) for i, o in pairwise(widths))
        self.last = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer, side in zip(self.convs, self.sides, strict=True):
            y = layer(x)
            x = F.relu(side(x) + F.relu(y[..., : x.shape[2]]))
        z: Tensor = self.last(x[:, :, -1])
        return z


class WaveNet(nn.Module):
    """Gated dilated convolutions, skips summed (van den Oord et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 24, 1)
        self.both = nn.ModuleList(nn.Conv1d(24, 48, 2, dilation=2**i) for i in range(3))
        self.keep, self.skip = (
            nn.ModuleList(nn.Conv1d(24, o, 1) for _ in range(3)) for o in (24, 32)
        )
        self.one, self.two = nn.Conv1d(32, 32, 1), nn.Conv1d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        total: Any = 0
        for i, (both, keep, skip) in enumerate(zip(self.both, self.keep, self.skip, strict=True)):
            a, b = both(F.pad(x, (2**i, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            x, total = x + keep(y), total + skip(y)
        z: Tensor = self.two(F.relu(self.one(F.relu(total))))
        return z


class ConvTasNet(nn.Module):
    """Two speakers apart: an encoder, masks, a decoder (Luo and Mesgarani 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            nn.Conv1d(1, 32, 16, 8, bias=False),
            nn.ConvTranspose1d(32, 1, 16, 8, bias=False),
        )
        self.norm, self.thin = nn.GroupNorm(1, 32), nn.Conv1d(32, 16, 1)
        self.block = nn.Sequential(
            nn.Conv1d(16, 24, 1), nn.PReLU(), nn.BatchNorm1d(24),
            nn.Conv1d(24, 24, 3, padding=2, dilation=2, groups=24), nn.PReLU(),
            nn.BatchNorm1d(24), nn.Conv1d(24, 16, 1),
        )  # fmt: skip
        self.mask = nn.Conv1d(16, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.encoder(x))
        z = self.thin(self.norm(y))
        masks = self.mask(z + self.block(z)).view(len(x), 2, 32, -1).sigmoid()
        parts = (masks * y[:, None]).flatten(0, 1)
        out: Tensor = self.decoder(parts).view(len(x), 2, -1)
        return out


class ECAPA(nn.Module):
    """A speaker: Res2 blocks, squeeze and excite, attentive statistics (Desplanques et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.n = nn.Conv1d(20, 32, 5, padding=2), nn.BatchNorm1d(32)
        self.parts = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=2, dilation=2) for _ in range(3))
        self.gate = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 32), nn.Sigmoid())
        self.score = nn.Sequential(nn.Conv1d(32, 12, 1), nn.Tanh(), nn.Conv1d(12, 32, 1))
        self.last = nn.Linear(64, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.n(self.stem(x)))
        first, *rest = x.split(8, 1)
        found, y = [first], first
        for part, conv1d in zip(rest, self.parts, strict=True):
            y = conv1d(part + y) if found[1:] else conv1d(part)
            found.append(y)
        z = torch.cat(found, 1)
        z = x + z * self.gate(z.mean(2))[:, :, None]
        weight = self.score(z).softmax(2)
        mean = (z * weight).sum(2)
        spread = ((z * z * weight).sum(2) - mean * mean).clamp_min(1e-6).sqrt()
        out: Tensor = self.last(torch.cat([mean, spread], 1))
        return out


class CRNNGRU(nn.Module):
    """Sounds in a clip: convolutions, a GRU in both directions, one answer a frame (Cakir et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(1, 16), nn.MaxPool2d((2, 1)), conv(16, 24), nn.MaxPool2d((2, 1))
        )
        self.rnn, self.last = (
            nn.GRU(24 * 4, 20, num_layers=2, bidirectional=True, batch_first=True),
            nn.Linear(40, 6),
        )

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.body(x).flatten(1, 2).transpose(1, 2))
        return torch.sigmoid(self.last(y))


# -- odd operators --------------------------------------------------------------------------------


class Deformable(nn.Module):
    """Offsets and masks from the map itself (Zhu et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.ops import DeformConv2d

        self.stem, self.offset, self.mask = (
            conv(3, 16, s=2),
            nn.Conv2d(16, 18, 3, padding=1),
            nn.Conv2d(16, 9, 3, padding=1),
        )
        self.deform, self.n = DeformConv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.next, self.last = conv(24, 32), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = F.relu(self.n(self.deform(y, self.offset(y), self.mask(y).sigmoid())))
        z: Tensor = self.last(self.next(y).mean((2, 3)))
        return z


class ConvLSTM(nn.Module):
    """A state of maps over the frames, zeros at first (Shi et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gates, self.last = (
            conv(3, 12, s=2),
            nn.Conv2d(12 + 16, 64, 3, padding=1),
            nn.Conv2d(16, 3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, t, _, h, w = x.shape
        state = torch.zeros(n, 16, h // 2, w // 2, dtype=x.dtype, device=x.device)
        cell = torch.zeros_like(state)
        for step in range(t):
            y = self.stem(x[:, step])
            i, f, o, g = self.gates(torch.cat([y, state], 1)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
        z: Tensor = self.last(state)
        return z


class Modulated(nn.Module):
    """StyleGAN2's convolution: each image has weights of its own, as groups (Karras et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.style, self.start = nn.Linear(16, 24), conv(3, 24)
        self.weight = nn.Parameter(torch.randn(32, 24, 3, 3) / 15)
        self.next, self.rgb = conv(32, 16), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = self.start(x)
        n, c, h, w = y.shape
        weight = self.weight[None] * (1 + self.style(z))[:, None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        y = F.conv2d(y.reshape(1, n * c, h, w), weight.view(n * 32, c, 3, 3), padding=1, groups=n)
        out: Tensor = self.rgb(self.next(F.leaky_relu(y.view(n, 32, h, w), 0.2)))
        return out


class Fourier(nn.Module):
    """FFC: some of the channels are convolved in the spectrum (Chi et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.spectral, self.last = conv(3, 16), conv(32, 32, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        spectrum = torch.fft.rfft2(y, norm="ortho")
        both = torch.stack([spectrum.real, spectrum.imag], 2).flatten(1, 2)
        both = self.spectral(both).unflatten(1, (16, 2))
        back = torch.fft.irfft2(
            torch.complex(both[:, :, 0], both[:, :, 1]), s=y.shape[2:], norm="ortho"
        )
        z: Tensor = self.last(y + back)
        return z


# -- other ways in and out -------------------------------------------------------------------------


class Pair(nn.Module):
    """An image and numbers beside it, as a tuple of arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.numbers, self.last = (
            nn.Sequential(conv(3, 16, s=2), conv(16, 24)),
            nn.Linear(5, 12),
            nn.Linear(36, 4),
        )

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        z: Tensor = self.last(
            torch.cat([self.body(image).mean((2, 3)), F.relu(self.numbers(numbers))], 1)
        )
        return z


class Views(Pair):
    """Any number of images of one thing, as a list."""

    def forward(self, views: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        maps = torch.stack([self.body(v).mean((2, 3)) for v in views]).amax(0)
        z: Tensor = self.last(torch.cat([maps, maps[:, :12]], 1))
        return z


class Batch(Pair):
    """A dict of everything, as data loaders give it."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(batch["image"], batch["numbers"])}


class BackboneAndHead(nn.Module):
    """A torchvision detector's trained part: what comes before boxes are decoded and suppressed."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        rpn: Any = getattr(detector, "rpn", None)
        self.head: Any = detector.head if rpn is None else rpn.head

    def forward(self, x: Tensor) -> Any:
        backbone: Any = self.backbone
        return self.head(list(backbone(x).values()))


class Flow(nn.Module):
    """RAFT with four updates (Teed and Deng 2020)."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.optical_flow import raft_small

        self.raft = raft_small(weights=None)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        flow: Tensor = self.raft(first, second, num_flow_updates=4)[-1]
        return flow


def small_net() -> nn.Module:
    """What the quantised rows start from."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def quantised(how: str) -> nn.Module:
    """By torch.ao in eager mode: ``observed``, trained for it (``qat``), or converted to ``int8``."""
    from torch.ao import quantization as q

    qconfig: Any = q.get_default_qat_qconfig if how == "qat" else q.get_default_qconfig
    net = q.QuantWrapper(small_net())
    net.qconfig = qconfig("fbgemm")
    if how == "qat":
        return q.prepare_qat(net.train()).eval()
    prepared = q.prepare(net.eval())
    prepared(torch.randn(2, 3, 16, 16))
    return q.convert(prepared) if how == "int8" else prepared
