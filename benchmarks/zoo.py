"""Is the cut exact on real networks? One JSON line a network: cut against masked, on fresh inputs.

    python benchmarks/zoo.py                  the development set, then the held-out set
    python benchmarks/zoo.py resnet18 tv/vgg16   these (tv/ = torchvision, else timm)

Weights are random, batch-norm statistics, biases and layer scales too, so that nothing hides.
``error`` is the largest difference over the outputs relative to the largest output (float64,
batch 3, an input other than the traced one); ``power`` how far the uncut network is from the
masked one; ``share`` the part of all parameters that at least one droppable unit touches.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.graph import Graph, cost, trace
from edgeprune.prune import masked, narrow

# Rules were mended on these while failures showed.
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
HELD_OUT = """
tv/alexnet tv/resnext50_32x4d tv/efficientnet_v2_s ghostnetv2_100 mobilevit_xxs gcresnet33ts
cs3darknet_s repvit_m0_9 visformer_tiny eca_nfnet_l0 lambda_resnet26t botnet26t_256
legacy_seresnet18 spnasnet_100 fbnetc_100 regnetz_b16 focalnet_tiny_srf mambaout_femto fasternet_t0
efficientvit_b0
""".split()
SIZES = {  # pixels; 96 where not named
    "tv/inception_v3": 139, "inception_v4": 139, "edgenext_xx_small": 128, "xception41": 128,
    "levit_conv_128s": 224, "efficientformer_l1": 224, "halonet26t": 256, "bat_resnext26ts": 256,
    "visformer_tiny": 224, "lambda_resnet26t": 128, "botnet26t_256": 256, "mobilevit_xxs": 128,
}  # fmt: skip


def build(name: str) -> nn.Module:
    import timm
    import torchvision

    torch.manual_seed(0)
    if name.startswith("tv/"):
        net = getattr(torchvision.models, name[3:])(weights=None)
    else:
        net = timm.create_model(name, pretrained=False)
    return shake(net.double().eval())


def shake(net: nn.Module) -> nn.Module:
    """Random statistics, biases and scales: initial zeros and ones hide errors."""
    random = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=random) * 0.2)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
    for parameter in net.parameters():
        if max(parameter.shape, default=1) == parameter.numel():
            parameter.data += torch.randn(parameter.shape, generator=random) * 0.3
    return net


def keep_some(graph: Graph, share: float, seed: int = 0) -> dict[str, list[int]]:
    """A random ``share`` of each group's units, one at least."""
    random = np.random.default_rng(seed)
    return {
        name: sorted(random.choice(g.width, max(1, round(g.width * share)), replace=False).tolist())
        for name, g in graph.groups.items()
    }


def outputs(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [t for v in values for t in outputs(v)]


def relative(got: Any, expected: Any) -> float:
    pairs = zip(outputs(got), outputs(expected), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@torch.no_grad()
def measure(name: str, share: float = 0.5) -> dict[str, Any]:
    net = build(name)
    size = SIZES.get(name, 96)
    random = torch.Generator().manual_seed(2)
    example, fresh = (
        torch.randn(n, 3, size, size, generator=random, dtype=torch.float64) for n in (2, 3)
    )
    started = time.perf_counter()
    graph = trace(net, example)
    traced = time.perf_counter()
    keep = keep_some(graph, share)
    small = narrow(graph, keep)
    done = time.perf_counter()
    reference = masked(graph, keep)(fresh)
    touched = {site.tensor for group in graph.groups.values() for site in group.sites}
    touched |= {source for f in touched for source in graph.sources(f)}
    params = dict(net.named_parameters())
    promised = cost(graph, {group: len(units) for group, units in keep.items()})
    return {
        "network": name,
        "error": relative(small.model(fresh), reference),
        "power": relative(net(fresh), reference) if graph.groups else None,
        "groups": len(graph.groups),
        "units": sum(g.width for g in graph.groups.values()),
        "share": sum(p.numel() for n, p in params.items() if n in touched)
        / sum(p.numel() for p in params.values()),
        "kind": small.kind,
        "reason": small.model.edgeprune_reason,
        "cost": promised == cost(small),
        "left": cost(small).params / cost(graph).params,
        "trace_s": traced - started,
        "cut_s": done - traced,
        "refused": sorted({f"{r.operator}: {r.reason}" for r in graph.refusals}),
    }


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [*DEVELOPMENT, *HELD_OUT]:
        try:
            row = measure(name)
        except Exception as e:
            row = {
                "network": name,
                "failed": f"{type(e).__name__}: {' '.join(str(e).split())[:300]}",
            }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
