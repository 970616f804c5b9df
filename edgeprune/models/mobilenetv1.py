"""MobileNetV1 as the paper uses it (Howard et al. 2017; head of Hubens et al. 2020).

A 3x3 convolution with stride 2, then 13 pairs of a 3x3 depthwise and a 1x1 pointwise convolution,
batch norm and ReLU6 after each, global average pooling, and dense 512 + classes (``head="paper"``)
or the plain classifier (``head="original"``). Keys: ``features.0.{conv,bn}``,
``features.K.{dw,pw}.{conv,bn}``, ``classifier``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .vgg16 import HIDDEN

STEM = 32
WIDTHS = (
    64,
    128,
    128,
    256,
    256,
    512,
    512,
    512,
    512,
    512,
    512,
    1024,
    1024,
)  # of the pointwise convolutions
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # of the depthwise convolutions


class ConvBN(nn.Module):
    """Convolution, batch norm, ReLU6. ``padding="same"`` is TensorFlow's: at stride 2 and kernel 3
    on an even side, nothing left and above, one right and below; on an odd side one all round.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        groups: int,
        padding: str,
        eps: float,
    ) -> None:
        super().__init__()
        self.same = padding == "same" and stride == 2
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            0 if self.same else kernel // 2,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(outputs, eps=eps)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            before_h, before_w = x.shape[2] % 2, x.shape[3] % 2
            x = F.pad(x, (before_w, 1, before_h, 1))
        return self.act(self.bn(self.conv(x)))


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, padding: str, eps: float) -> None:
        super().__init__()
        self.dw = ConvBN(inputs, inputs, 3, stride, inputs, padding, eps)
        self.pw = ConvBN(inputs, outputs, 1, 1, 1, padding, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.dw(x))


class MobileNetV1(nn.Module):
    """Input ``[N, 3, S, S]``, output logits ``[N, classes]``; ``alpha`` is the width multiplier."""

    def __init__(
        self,
        classes: int,
        head: str = "paper",
        alpha: float = 1.0,
        padding: str = "symmetric",
        bn_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        widths = [max(8, int(w * alpha)) for w in (STEM, *WIDTHS)]
        self.features = nn.Sequential(
            ConvBN(3, widths[0], 3, 2, 1, padding, bn_eps),
            *(
                Separable(i, o, stride, padding, bn_eps)
                for i, o, stride in zip(widths[:-1], widths[1:], STRIDES, strict=True)
            ),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier: nn.Module
        if head == "paper":
            self.classifier = nn.Sequential(
                nn.Linear(widths[-1], HIDDEN), nn.ReLU(inplace=True), nn.Dropout(0.2),
                nn.Linear(HIDDEN, classes),
            )  # fmt: skip
        else:
            self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(images))))
