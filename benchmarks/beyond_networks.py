"""Small, faithful networks of many tasks on images, for :mod:`beyond`.

Each is the published architecture in its published order of operators, with fewer layers or channels;
:mod:`beyond_others` has those of clips, volumes, points and sound, :mod:`cases_networks` sixteen more.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from cases_networks import conv, separable
from torch import Tensor, nn

# -- images to images ------------------------------------------------------------------------------


class EDSR(nn.Module):
    """Super-resolution (Lim et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 3, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)
            )
            for _ in range(3)
        )
        self.up = nn.Sequential(nn.Conv2d(32, 128, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        y = first = self.head(x)
        for block in self.body:
            y = y + 0.1 * block(y)
        z: Tensor = self.tail(self.up(y + first))
        return z


class RCAN(nn.Module):
    """Super-resolution by channel attention (Zhang et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(24, 6, 1),
            nn.ReLU(),
            nn.Conv2d(6, 24, 1),
            nn.Sigmoid(),
        )
        self.up = nn.Sequential(nn.Conv2d(24, 96, 3, padding=1), nn.PixelShuffle(2))
        self.tail = nn.Conv2d(24, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.body(F.relu(self.body(x)))
        z: Tensor = self.tail(self.up(x + y * self.attention(y)))
        return z


class DnCNN(nn.Module):
    """Denoising by the residual (Zhang et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        inner = [conv(32, 32) for _ in range(3)]
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(32, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x - self.body(x)
        return y


class Depth(nn.Module):
    """Disparity at four scales (Godard et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        down, up = (3, 16, 32, 48, 64), (16, 16, 32, 48, 64)
        self.down = nn.ModuleList(conv(down[i], down[i + 1], s=2) for i in range(4))
        self.up = nn.ModuleList(conv(up[i + 1], up[i]) for i in range(4))
        self.mix = nn.ModuleList(conv(up[i] + (down[i] if i else 0), up[i]) for i in range(4))
        self.heads = nn.ModuleList(nn.Conv2d(up[i], 1, 3, padding=1) for i in range(4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = []
        for down in self.down:
            x = down(x)
            maps.append(x)
        found: dict[str, Tensor] = {}
        for i in (3, 2, 1, 0):
            x = F.interpolate(self.up[i](x), scale_factor=2.0, mode="nearest")
            x = self.mix[i](torch.cat([x, maps[i - 1]], 1) if i else x)
            found[f"disparity{i}"] = self.heads[i](x).sigmoid()
        return found


class Style(nn.Module):
    """Fast style transfer (Johnson et al. 2016, with instance norm)."""

    def __init__(self) -> None:
        super().__init__()

        def block(i: int, o: int, k: int, s: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, s), nn.InstanceNorm2d(o, affine=True)
            )

        self.down = nn.Sequential(
            block(3, 16, 9),
            nn.ReLU(),
            block(16, 32, 3, 2),
            nn.ReLU(),
            block(32, 48, 3, 2),
            nn.ReLU(),
        )
        self.a, self.b = block(48, 48, 3), block(48, 48, 3)
        self.up2, self.up1, self.last = (
            block(48, 32, 3),
            block(32, 16, 3),
            nn.Conv2d(16, 3, 9, padding=4),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        y = y + self.b(F.relu(self.a(y)))
        y = F.relu(self.up2(F.interpolate(y, scale_factor=2)))
        z: Tensor = self.last(F.relu(self.up1(F.interpolate(y, scale_factor=2))))
        return z


class AdaIN(nn.Module):
    """Style transfer by statistics of the maps (Huang and Belongie 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16), nn.MaxPool2d(2), conv(16, 32))
        self.decoder = nn.Sequential(
            conv(32, 16), nn.Upsample(scale_factor=2), nn.Conv2d(16, 3, 3, padding=1)
        )

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        a, b = self.encoder(content), self.encoder(style)
        centred = (a - a.mean((2, 3), keepdim=True)) / (a.std((2, 3), keepdim=True) + 1e-5)
        y = centred * b.std((2, 3), keepdim=True) + b.mean((2, 3), keepdim=True)
        z: Tensor = self.decoder(y)
        return z


def dcgan() -> nn.Module:
    """A generator (Radford et al. 2016)."""
    layers: list[nn.Module] = []
    for i, o, s, p in ((32, 64, 1, 0), (64, 48, 2, 1), (48, 32, 2, 1)):
        layers += [nn.ConvTranspose2d(i, o, 4, s, p, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh())


class Pix2Pix(nn.Module):
    """A U-Net generator (Isola et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(i, o, 4, 2, 1) for i, o in ((3, 16), (16, 32), (32, 64))
        )
        self.x, self.y = nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ConvTranspose2d(64, 16, 4, 2, 1)
        self.z, self.n = nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.n(self.b(F.leaky_relu(a, 0.2)))
        c = self.c(F.leaky_relu(b, 0.2))
        y = torch.cat([F.dropout(self.x(F.relu(c)), training=self.training), b], 1)
        y = torch.cat([self.y(F.relu(y)), a], 1)
        return torch.tanh(self.z(F.relu(y)))


def patch_gan() -> nn.Module:
    """CycleGAN's judge of patches, with spectral norm."""
    from torch.nn.utils.parametrizations import spectral_norm

    layers: list[nn.Module] = []
    for i, o in ((3, 16), (16, 32), (32, 64)):
        layers += [spectral_norm(nn.Conv2d(i, o, 4, 2, 1)), nn.InstanceNorm2d(o), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1))


class Diffusion(nn.Module):
    """A denoiser told the time: sines, a table for the class, group norms (Ho et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.kind = (
            nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32)),
            nn.Embedding(5, 32),
        )
        self.a, self.b, self.c = (
            nn.Conv2d(3, 32, 3, padding=1),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.Conv2d(96, 32, 3, padding=1),
        )
        self.shift, self.n, self.m = nn.Linear(32, 64), nn.GroupNorm(8, 32), nn.GroupNorm(8, 64)
        self.last = nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, kind: Tensor) -> Tensor:
        rate = torch.exp(-torch.arange(8, dtype=x.dtype) * math.log(1e4) / 8)
        angle = t[:, None].to(x.dtype) * rate
        told = self.time(torch.cat([angle.sin(), angle.cos()], 1)) + self.kind(kind)
        a = F.silu(self.n(self.a(x)))
        b = F.silu(self.m(self.b(a) + self.shift(told)[:, :, None, None]))
        y = self.c(torch.cat([F.interpolate(b, scale_factor=2), a], 1))
        z: Tensor = self.last(F.silu(y))
        return z


class VAE(nn.Module):
    """Mean, log variance and what is made of the mean (in eval mode nothing is drawn)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(2048, 16), nn.Linear(2048, 16)
        self.back = nn.Linear(16, 2048)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (32, 8, 8)),
            nn.ConvTranspose2d(32, 16, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 2, 2),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.encoder(x)
        mean, log_variance = self.mean(y), self.log_variance(y)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean
        return self.decoder(F.relu(self.back(z))), mean, log_variance


class VQVAE(nn.Module):
    """The nearest of a table of codes, and its number (van den Oord et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, s=2), nn.Conv2d(16, 24, 1))
        self.codes = nn.Embedding(32, 24)
        self.decoder = nn.Sequential(conv(24, 16), nn.ConvTranspose2d(16, 3, 2, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.encoder(x).permute(0, 2, 3, 1)
        flat = y.flatten(0, 2)
        far = (
            flat.pow(2).sum(1, keepdim=True)
            + self.codes.weight.pow(2).sum(1)
            - 2 * flat @ self.codes.weight.t()
        )
        index = far.argmin(1)
        found = self.codes(index).view(y.shape).permute(0, 3, 1, 2)
        return self.decoder(found), index.view(y.shape[:-1])


class SegNet(nn.Module):
    """Segmentation; what was pooled goes back to where it came from (Badrinarayanan et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 16), conv(16, 32), conv(32, 16), conv(16, 16)
        self.pool, self.back = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, first = self.pool(self.a(x))
        y, second = self.pool(self.b(y))
        y = self.c(self.back(y, second))
        z: Tensor = self.last(self.d(self.back(y, first)))
        return z


class PSPNet(nn.Module):
    """Segmentation by pooling at four scales (Zhao et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), conv(32, 8, 1)) for s in (1, 2, 4, 8)
        )
        self.last = nn.Sequential(conv(64, 32), nn.Dropout2d(0.1), nn.Conv2d(32, 6, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        parts = [
            F.interpolate(p(y), y.shape[2:], mode="bilinear", align_corners=False)
            for p in self.pools
        ]
        return F.interpolate(
            self.last(torch.cat([y, *parts], 1)), x.shape[2:], mode="bilinear", align_corners=True
        )


class AttentionUNet(nn.Module):
    """A gate on the skip connection (Oktay et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(1, 16), conv(16, 32, s=2)
        self.g, self.s, self.psi = nn.Conv2d(32, 12, 1), nn.Conv2d(16, 12, 1), nn.Conv2d(12, 1, 1)
        self.up, self.last = nn.ConvTranspose2d(32, 16, 2, 2), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        g = F.interpolate(self.g(b), scale_factor=2, mode="nearest")
        gate = self.psi(F.relu(g + self.s(a))).sigmoid()
        z: Tensor = self.last(torch.cat([self.up(b), a * gate], 1))
        return z


# -- images to boxes, points, vectors --------------------------------------------------------------


class PoseMaps(nn.Module):
    """Heat maps of 17 points, and where each is (Xiao et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2), conv(32, 64, s=2))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 17, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.up(self.body(x))
        value, index = maps.flatten(2).max(2)
        return maps, torch.stack(
            [index % maps.shape[3], index // maps.shape[3], (value > 0).long()], 2
        )


class Hourglass(nn.Module):
    """Down and up again with skips, twice (Newell et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 24, s=2)
        self.low, self.skip = (nn.ModuleList(conv(24, 24) for _ in range(2)) for _ in range(2))
        self.head, self.back = (
            nn.ModuleList(nn.Conv2d(24, 16, 1) for _ in range(2)),
            nn.Conv2d(16, 24, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for low, skip, head in zip(self.low, self.skip, self.head, strict=True):
            y = skip(x) + F.interpolate(low(F.max_pool2d(x, 2)), scale_factor=2)
            found.append(head(y))
            x = x + y + self.back(found[-1])
        return found


class CenterNet(nn.Module):
    """Objects as points: peaks, the 20 best of them, their sizes gathered (Zhou et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2))
        self.heat = nn.Sequential(conv(32, 24), nn.Conv2d(24, 4, 1))
        self.size = nn.Sequential(conv(32, 24), nn.Conv2d(24, 2, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x)
        heat, size = self.heat(y).sigmoid(), self.size(y)
        peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        scores, index = peaks.flatten(1).topk(20)
        place = index % (heat.shape[2] * heat.shape[3])
        kind = torch.div(index, heat.shape[2] * heat.shape[3], rounding_mode="floor")
        sizes = size.flatten(2).transpose(1, 2).gather(1, place[:, :, None].expand(-1, -1, 2))
        return {"scores": scores, "kind": kind, "sizes": sizes, "heat": heat}


class BiFPN(nn.Module):
    """EfficientDet's neck: maps weighted by learned scalars (Tan et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 24, s=2), conv(24, 24, s=2), conv(24, 24, s=2)
        self.up, self.down = separable(24), separable(24)
        self.w1, self.w2 = nn.Parameter(torch.rand(2)), nn.Parameter(torch.rand(3))
        self.head = nn.Conv2d(24, 9, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.a(x)
        b = self.b(a)
        c = self.c(b)
        w1, w2 = F.relu(self.w1), F.relu(self.w2)
        w1, w2 = w1 / (w1.sum() + 1e-4), w2 / (w2.sum() + 1e-4)
        middle = self.up(F.silu(w1[0] * b + w1[1] * F.interpolate(c, scale_factor=2)))
        low = self.down(F.silu(w2[0] * b + w2[1] * middle + w2[2] * F.max_pool2d(a, 2)))
        return [self.head(y) for y in (a, low, c)]


class YOLOX(nn.Module):
    """Pixels to channels, a head for boxes and one for classes (Ge et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(12, 24), nn.Sequential(conv(24, 32, s=2), conv(32, 48, s=2))
        self.kind, self.place = nn.Sequential(conv(48, 32), nn.Conv2d(32, 6, 1)), conv(48, 32)
        self.box, self.there = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
        y = self.body(self.stem(torch.cat(parts, 1)))
        place = self.place(y)
        out = torch.cat([self.box(place), self.there(place).sigmoid(), self.kind(y).sigmoid()], 1)
        h, w = out.shape[2:]
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([columns, rows], 2).view(1, -1, 2).to(x.dtype)
        out = out.flatten(2).permute(0, 2, 1)
        return torch.cat([(out[..., :2] + grid) * 8, out[..., 2:4].exp() * 8, out[..., 4:]], 2)


class FaceBoxes(nn.Module):
    """CReLU, SSD's scaled l2 norm, boxes against default boxes (Zhang et al. 2017, Liu et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 12, 7, 4, 3, bias=False), nn.BatchNorm2d(12)
        self.b, self.scale = conv(24, 32, s=2), nn.Parameter(torch.full((32,), 20.0))
        self.c = conv(32, 48, s=2)
        self.heads = nn.ModuleList(nn.Conv2d(i, 3 * 6, 3, padding=1) for i in (32, 48))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.n(self.a(x))
        y = self.b(torch.cat([F.relu(y), F.relu(-y)], 1))
        maps = [F.normalize(y, dim=1) * self.scale.view(1, -1, 1, 1), self.c(y)]
        found = [
            h(m).permute(0, 2, 3, 1).contiguous().view(len(x), -1, 6)
            for h, m in zip(self.heads, maps, strict=True)
        ]
        out = torch.cat(found, 1)
        return out[..., :4], out[..., 4:].softmax(-1)


class DBNet(nn.Module):
    """Text: a probability and a threshold, joined in a step that has a gradient (Liao et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16, s=2), conv(16, 32, s=2), conv(32, 48, s=2)
        self.sides = nn.ModuleList(nn.Conv2d(i, 16, 1) for i in (16, 32, 48))
        self.heads = nn.ModuleList(
            nn.Sequential(conv(48, 12), nn.ConvTranspose2d(12, 1, 2, 2)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        maps = [side(y) for side, y in zip(self.sides, (a, b, self.c(b)), strict=True)]
        fused = torch.cat([F.interpolate(y, maps[0].shape[2:], mode="nearest") for y in maps], 1)
        likely, least = (head(fused).sigmoid() for head in self.heads)
        return torch.cat(
            [likely, least, torch.reciprocal(1 + torch.exp(-50 * (likely - least)))], 1
        )


class MobileFace(nn.Module):
    """An embedding of length 1 (Chen et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32)
        )
        self.wide = nn.Sequential(
            nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.deep = nn.Sequential(
            nn.Conv2d(64, 64, 3, 2, 1, groups=64, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.thin = nn.Sequential(nn.Conv2d(64, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.whole = nn.Conv2d(32, 32, 8, groups=32, bias=False)
        self.last = nn.Sequential(
            nn.Conv2d(32, 24, 1, bias=False), nn.BatchNorm2d(24), nn.Flatten()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(self.stem(x), 2)
        y = self.whole(torch.cat([self.thin(self.deep(self.wide(y)))] * 1, 1))
        return F.normalize(self.last(y))


class Transformed(nn.Module):
    """The image is turned as a small network says (Jaderberg et al. 2015), with coordinates as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(
            conv(3, 8, s=2), conv(8, 12, s=2), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.theta, self.body, self.last = (
            nn.Linear(48, 6),
            nn.Sequential(conv(5, 16, s=2), conv(16, 24)),
            nn.Linear(24, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(self.where(x)).view(-1, 2, 3)
        x = F.grid_sample(
            x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False
        )
        n, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, dtype=x.dtype).view(1, 1, h, 1).expand(n, 1, h, w)
        columns = torch.linspace(-1, 1, w, dtype=x.dtype).view(1, 1, 1, w).expand(n, 1, h, w)
        z: Tensor = self.last(self.body(torch.cat([x, rows, columns], 1)).mean((2, 3)))
        return z


class Duelling(nn.Module):
    """A value and advantages, less their mean (Wang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten()
        )
        self.a, self.v = (
            nn.Sequential(nn.Linear(2592, 64), nn.ReLU(), nn.Linear(64, o)) for o in (6, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x / 255.0)
        advantage = self.a(y)
        z: Tensor = self.v(y) + advantage - advantage.mean(1, keepdim=True)
        return z
