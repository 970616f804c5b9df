"""VGG16 as the paper uses it (Hubens et al. 2020, section 3; widths from Simonyan & Zisserman 2015,
D).

13 convolutions 3x3 with bias and no batch norm, max pooling after blocks of 2, 2, 3, 3, 3, then
global average pooling, dense 512 and the classes. State-dict keys are torchvision's, so its weights
fit as they are: ``features.{0,2,5,7,10,12,14,17,19,21,24,26,28}``, ``classifier.{0,3}``
(``classifier.{0,3,6}`` with the original head).
"""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 512  # width of the paper's dense layer (recovered from its parameter counts)


class VGG16(nn.Module):
    """Input ``[N, 3, S, S]`` with S >= 32, output logits ``[N, classes]``."""

    def __init__(self, classes: int, head: str = "paper") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in BLOCKS:
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1 if head == "paper" else 7)
        self.flatten = nn.Flatten()
        if head == "paper":
            self.classifier = nn.Sequential(
                nn.Linear(channels, HIDDEN), nn.ReLU(inplace=True), nn.Dropout(0.5),
                nn.Linear(HIDDEN, classes),
            )  # fmt: skip
        else:  # torchvision's own
            self.classifier = nn.Sequential(
                nn.Linear(channels * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
                nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
                nn.Linear(4096, classes),
            )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.avgpool(self.features(images))))
