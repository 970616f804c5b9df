"""The networks of the zoo (:mod:`zoo`): their names, input sizes and random weights."""

from __future__ import annotations

import re

import torch
from torch import nn

# torchvision's classifiers that are no CNNs, by the start of their names.
TRANSFORMERS = {
    "vit": "a vision transformer: tokens and multi-head attention, one convolution",
    "swin": "a windowed vision transformer",
    "maxvit": "a vision transformer with convolutional stems",
}
# Rules were mended on these while failures showed (tv/ = torchvision, else timm).
DEVELOPMENT = """
tv/vgg16 tv/resnet18 tv/densenet121 tv/googlenet tv/inception_v3 tv/shufflenet_v2_x1_0
tv/mnasnet0_5 tv/mobilenet_v3_small tv/efficientnet_b0 tv/regnet_y_400mf tv/convnext_tiny
tv/squeezenet1_1 cspresnet50 res2net50_26w_4s dpn68 nf_resnet50 edgenext_xx_small fastvit_t8
mixnet_s ghostnet_100 hrnet_w18_small seresnet50 rexnet_100 convnextv2_atto mobileone_s0
efficientnet_lite0 mobilenetv1_100 mobilenetv4_conv_small repvgg_a0 resnest14d skresnet18
xception41 inception_v4 dla34 selecsls42 regnety_002 tresnet_m gernet_s eca_resnet33ts lcnet_050
resnetv2_50 repghostnet_050 inception_next_atto starnet_s1 rdnet_tiny hgnetv2_b0 poolformer_s12
efficientformer_l1 levit_conv_128s halonet26t bat_resnext26ts ese_vovnet19b_slim hardcorenas_a
tinynet_e
""".split()
# Named before any of them was run; the rules were then left alone.
HELD_OUT = """
tv/alexnet tv/resnext50_32x4d tv/efficientnet_v2_s ghostnetv2_100 mobilevit_xxs gcresnet33ts
cs3darknet_s repvit_m0_9 visformer_tiny eca_nfnet_l0 lambda_resnet26t botnet26t_256
legacy_seresnet18 spnasnet_100 fbnetc_100 regnetz_b16 focalnet_tiny_srf mambaout_femto fasternet_t0
efficientvit_b0
""".split()
# Further families of timm, the smallest member of each; never run before this table.
FURTHER = """
convmixer_768_32 cspnext_tiny densenetblur121d dla46_c dpn48b hgnet_tiny inception_resnet_v2
lcnetv2_small convformer_s18 mobilevitv2_050 fbnetv3_b mobilenetv3_small_050 mobilenetv2_050
semnasnet_050 mnasnet_small tf_mobilenetv3_small_minimal_100 efficientnet_es
mobilenet_edgetpu_v2_xs rexnetr_100 regnetx_002 regnetv_040 resnet10t seresnext26d_32x4d
ecaresnet26t resnetv2_18 res2next50 seresnet33ts nf_regnet_b0 dm_nfnet_f0 shvit_s1 swiftformer_xs
efficientvit_m0 legacy_xception ese_vovnet19b_dw lowformer_b0 cpubone_b0_bfrobust
efficientformerv2_s0 darknet17 cspresnext50 haloregnetz_b sehalonet33ts lamhalobotnet50ts_256
sebotnet33ts_256 resnet51q gcresnext26ts convnext_atto efficientnet_b0_gn resnetrs50 resnetblur50
skresnext50_32x4d resnest26d iformer_t regnetz_c16_evos resnetv2_50d_frn nextvit_small
mobilenetv4_hybrid_medium csatv2 poolformerv2_s12 resnetv2_50x1_bit vovnet39a pnasnet5large
nasnetalarge
""".split()
# On these the peer needs its whole time limit or nearly: last, so that a stopped run has more rows.
SLOW = """
rexnet_100 levit_conv_128s halonet26t gcresnet33ts visformer_tiny eca_nfnet_l0 lambda_resnet26t
botnet26t_256 focalnet_tiny_srf resnest14d resnest26d sehalonet33ts lamhalobotnet50ts_256
sebotnet33ts_256 haloregnetz_b rexnetr_100 nextvit_small iformer_t csatv2 gcresnext26ts dm_nfnet_f0
""".split()
SIZES = {  # pixels; 64 where not named: the smallest that the network, or its published size, wants
    "tv/inception_v3": 299, "inception_v4": 139, "inception_resnet_v2": 139, "xception41": 128,
    "edgenext_xx_small": 128, "mobilevit_xxs": 128, "mobilevitv2_050": 128,
    "lambda_resnet26t": 128, "levit_conv_128s": 224, "efficientformer_l1": 224,
    "efficientformerv2_s0": 224, "visformer_tiny": 224, "efficientvit_m0": 224,
    "halonet26t": 256, "bat_resnext26ts": 256, "botnet26t_256": 256, "sehalonet33ts": 256,
    "haloregnetz_b": 224, "lamhalobotnet50ts_256": 256, "sebotnet33ts_256": 256,
    "nasnetalarge": 96, "pnasnet5large": 96, "mobilenetv4_hybrid_medium": 256,
    "nextvit_small": 224, "iformer_t": 224, "csatv2": 512, "lowformer_b0": 128,
}  # fmt: skip


def size_of(name: str) -> int:
    """Pixels, height = width."""
    return SIZES.get(name, 64)


def torchvision_names() -> tuple[list[str], list[str]]:
    """``(CNNs from few parameters to many, transformers)``: all that torchvision lists."""
    from torchvision import models

    def parameters(name: str) -> int:
        return int(models.get_model_weights(name).DEFAULT.meta["num_params"])

    every = sorted(models.list_models(module=models), key=parameters)
    cnns = [f"tv/{name}" for name in every if not name.startswith(tuple(TRANSFORMERS))]
    return cnns, [name for name in every if name.startswith(tuple(TRANSFORMERS))]


def every_name() -> list[str]:
    """All networks, in an order in which a run that is stopped has still seen all families."""
    cnns, _ = torchvision_names()
    first = [*DEVELOPMENT, *HELD_OUT]
    rest = [name for name in cnns if name not in first]
    large = rest[-8:]
    rest = rest[:-8]
    mixed = [name for pair in zip(FURTHER, rest, strict=False) for name in pair]
    names = [*first, *mixed, *FURTHER[len(rest) :], *rest[len(FURTHER) :]]
    return [*(n for n in names if n not in SLOW), *SLOW, *large]


def family(name: str) -> str:
    """``resnet`` of ``tv/resnet18``: the letters before the first number or underscore."""
    plain = re.sub(r"^(tv/|tf_|legacy_|nf_|dm_|eca_|ese_)", "", name)
    return re.split(r"[\d_]", plain)[0]


def build(name: str) -> nn.Module:
    """The network in float64 and eval mode with random weights, statistics, biases and scales."""
    torch.manual_seed(0)
    if name.startswith("tv/"):
        from torchvision import models

        slow = {"init_weights": False} if name in ("tv/googlenet", "tv/inception_v3") else {}
        net = models.get_model(name[3:], weights=None, **slow)
    else:
        import timm

        net = timm.create_model(name, pretrained=False)
    return shake(net.double().eval())


@torch.no_grad()
def shake(net: nn.Module) -> nn.Module:
    """Initial zeros and ones hide errors, and values that repeat hide what survived a cut."""
    random = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=random) * 0.2)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
    for parameter in net.parameters():
        if max(parameter.shape, default=1) == parameter.numel():
            noise = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
            parameter += noise * 0.3
        else:
            for axis, size in enumerate(parameter.shape):
                noise = torch.rand(size, generator=random, dtype=torch.float64)
                shape = [-1 if a == axis else 1 for a in range(parameter.ndim)]
                parameter *= (1 + 1e-4 * noise).reshape(shape)
    return net
