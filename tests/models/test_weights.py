"""Weights that fit, that fit in part, and that do not: each said by name and shape."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from edgeprune import files, models
from edgeprune.errors import EdgepruneError
from edgeprune.models import Convention, ModelSpec, weights
from edgeprune.records import plain

SMALL = ModelSpec("mobilenetv1-0.25", classes=10)


INPUT = json.dumps(plain(Convention()))


def stored(home: Path, name: str, tensors: dict, metadata: dict | None = None) -> None:
    files.write_tensors(home / "weights" / name, tensors, metadata or {})


def test_scratch_is_he_initialised_and_repeats_with_the_seed() -> None:
    first, again, other = (models.fresh(ModelSpec("vgg16"), seed) for seed in (0, 0, 1))
    weight = first.features[2].weight
    assert torch.equal(weight, again.features[2].weight)
    assert not torch.equal(weight, other.features[2].weight)
    expected = (2 / (weight.shape[0] * 9)) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_name_in_the_home_folder_and_its_convention(empty_home: Path) -> None:
    network = models.fresh(SMALL, 1)
    metadata = {
        "input": "RGB, 192x192, x = pixel/127.5 - 1 (mean 0.5, std 0.5)",
        "padding": "TensorFlow SAME: ...",
        "bn_eps": "0.001",
    }
    half = {k: v.half() if "conv" in k else v for k, v in network.state_dict().items()}
    stored(empty_home, "mobilenetv1-0.25_mine.safetensors", half, metadata)
    source = models.find(SMALL, "mine")
    assert source is not None
    assert source.input == Convention(192, (0.5,) * 3, (0.5,) * 3)
    assert (source.padding, source.bn_eps) == ("same", 0.001)
    target = models.fresh(SMALL, 2)
    fit = models.fill(target, SMALL, source)
    assert fit.fresh == []
    assert target.features[3].pw.conv.weight.dtype == torch.float32
    assert torch.equal(target.features[3].pw.bn.weight, network.features[3].pw.bn.weight)


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ("RGB, x = pixel/127.5 - 1 (mean 0.5, std 0.5)", (0.5,) * 3, (0.5,) * 3),
        (
            "RGB, x=(pixel/255-mean)/std with mean 0.485,0.456,0.406 std 0.229,0.224,0.225 (folded)",
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        ),
        (
            "RGB, 32x32, x = (pixel/255 - mean)/std, mean 0.4 0.5 0.6, std 0.1 0.2 0.3",
            (0.4, 0.5, 0.6),
            (0.1, 0.2, 0.3),
        ),
    ],
)
def test_conventions_in_words(said: str, mean: tuple, std: tuple) -> None:
    assert weights._three("mean", said) == mean
    assert weights._three("std", said) == std


def test_head_is_replaced_when_the_classes_differ() -> None:
    source = weights.Source(
        "file", models.fresh(SMALL.but(classes=7), 1).state_dict(), Convention()
    )
    source = weights.replace(source, tensors=dict(source.tensors))
    target = models.fresh(SMALL, 2)
    before = target.classifier[0].weight.clone()
    clean = {k: v for k, v in source.tensors.items() if not k.endswith("num_batches_tracked")}
    fit = models.fill(target, SMALL, weights.replace(source, tensors=clean))
    assert (
        fit.fresh == fit.head == [f"classifier.{i}.{p}" for i in (0, 3) for p in ("weight", "bias")]
    )
    assert torch.equal(target.classifier[0].weight, before)


def test_part_of_a_network_is_refused_with_the_list_unless_asked_for(empty_home: Path) -> None:
    tensors = models.fresh(SMALL, 1).state_dict()
    del tensors["features.13.pw.conv.weight"]
    stored(empty_home, "mobilenetv1-0.25_part.safetensors", tensors)
    source = models.find(SMALL, "part")
    with pytest.raises(EdgepruneError, match=r"features\.13\.pw\.conv\.weight.*--partial"):
        models.fill(models.fresh(SMALL, 2), SMALL, source)
    fit = models.fill(models.fresh(SMALL, 2), SMALL, source, partial=True)
    assert fit.fresh == ["features.13.pw.conv.weight"]


def test_other_shapes_and_names_are_refused_even_partially(empty_home: Path) -> None:
    tensors = models.fresh(SMALL, 1).state_dict()
    tensors["features.2.pw.conv.weight"] = torch.zeros(3, 3, 1, 1)
    stored(empty_home, "mobilenetv1-0.25_wide.safetensors", tensors)
    with pytest.raises(
        EdgepruneError, match=r"features\.2\.pw\.conv\.weight is 3x3x1x1, .* wants 32x16x1x1"
    ):
        models.fill(models.fresh(SMALL, 2), SMALL, models.find(SMALL, "wide"), partial=True)
    tensors = models.fresh(SMALL, 1).state_dict() | {"layer9.weight": torch.zeros(2)}
    stored(empty_home, "mobilenetv1-0.25_odd.safetensors", tensors)
    with pytest.raises(EdgepruneError, match=r"the network has no layer9\.weight \(2\)"):
        models.fill(models.fresh(SMALL, 2), SMALL, models.find(SMALL, "odd"))


def test_nan_pickles_and_rubbish_are_refused(tmp_path: Path, empty_home: Path) -> None:
    tensors = models.fresh(SMALL, 1).state_dict()
    tensors["features.0.conv.weight"][0] = float("nan")
    files.write_tensors(tmp_path / "nan.safetensors", tensors)
    with pytest.raises(
        EdgepruneError, match=r"NaN or infinite values in features\.0\.conv\.weight"
    ):
        models.find(SMALL, str(tmp_path / "nan.safetensors"))

    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("pwned",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "nan.safetensors").read_bytes()[:500])
    for name in ("evil.pth", "text.pth", "cut.safetensors", "absent.pth"):
        with pytest.raises(EdgepruneError, match=name):
            models.find(SMALL, str(tmp_path / name))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool])
def test_whole_numbers_are_no_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    """A quantised file without its scales would train from rounded noise."""
    state = models.fresh(SMALL, 0).state_dict()
    state["features.0.conv.weight"] = state["features.0.conv.weight"].to(dtype)
    files.write_tensors(tmp_path / "w.safetensors", state)
    source = weights.read(tmp_path / "w.safetensors")
    with pytest.raises(EdgepruneError, match=r"features\.0\.conv\.weight: .*floating-point"):
        models.fill(models.fresh(SMALL, 1), SMALL, source)


def test_tensors_that_are_no_plain_numbers(tmp_path: Path) -> None:
    for odd in (
        torch.zeros(3, 3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
    ):
        torch.save({"layer.weight": odd}, tmp_path / "w.pth")
        with pytest.raises(EdgepruneError, match=r"w.pth: quantised, sparse.*layer.weight"):
            weights.read(tmp_path / "w.pth")
    files.write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(3).to(torch.float8_e4m3fn)})
    assert weights.read(tmp_path / "w.safetensors").tensors["a"].dtype == torch.float32


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_advice_to_run_a_strangers_code(
    tmp_path: Path, protocol: int, recwarn: pytest.WarningsRecorder
) -> None:
    """torch's own message tells people to load the file with weights_only=False."""
    proof = tmp_path / "it ran"

    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (proof,)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Trap()}, protocol))
    with pytest.raises(EdgepruneError) as e:
        weights.read(tmp_path / "w.pth")
    assert not proof.exists()
    assert "weights_only" not in str(e.value)
    assert "could run code" in str(e.value)
    assert not recwarn


@pytest.mark.parametrize(
    "metadata",
    [
        {"edgeprune.input": '{"size": "x", "mean": [1, 2], "std": [0, 0, 0]}'},
        {"edgeprune.input": '{"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0, 0, 0]}'},
        {"edgeprune.input": '{"size": 32, "mean": [NaN, 0.5, 0.5], "std": [1, 1, 1]}'},
        {"edgeprune.input": '{"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}'},
        {"edgeprune.input": INPUT.replace("RGB", "XYZ")},
        {"edgeprune.input": INPUT, "edgeprune.model": '{"model": "x", "padding": "weird"}'},
        {"edgeprune.input": INPUT, "edgeprune.model": '{"model": "x", "bn_eps": "small"}'},
        {"edgeprune.input": INPUT, "edgeprune.model": '{"model": "x", "classes": -7}'},
        {"input": "mean 0.5 std 0.0"},
        {"input": "mean 0.5 std 0.5", "input_size": "99999999999"},
        {"bn_eps": "nan"},
        {"bn_eps": "-1"},
    ],
)
def test_conventions_that_cannot_be(tmp_path: Path, metadata: dict[str, str]) -> None:
    files.write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(3)}, metadata)
    with pytest.raises(EdgepruneError):
        weights.read(tmp_path / "w.safetensors")


def test_a_pth_with_a_nested_state_dict_of_a_wrapped_network(tmp_path: Path) -> None:
    network = models.fresh(SMALL, 1)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}},
        tmp_path / "w.pth",
    )
    target = models.fresh(SMALL, 2)
    models.fill(target, SMALL, models.find(SMALL, str(tmp_path / "w.pth")))
    assert torch.equal(target.classifier[3].weight, network.classifier[3].weight)


def renamed(prefix: str, state: dict) -> dict:
    return {prefix + k: v for k, v in state.items()}


def forms(state: dict, other: dict) -> dict[str, tuple[dict, str]]:
    """The same weights as training loops save them -> what is said; ``other`` is not to be taken."""
    inner = {k.replace("features.", "features._orig_mod.module."): v for k, v in state.items()}
    adam = {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)}}, "param_groups": []}
    return {
        "parallel": ({"state_dict": renamed("module.", state)}, "takes 'state_dict.module'"),
        "compiled": (renamed("_orig_mod.", state), "takes '_orig_mod'"),
        "both ways": (renamed("module._orig_mod.", state), "takes 'module._orig_mod'"),
        "the other way": (renamed("_orig_mod.module.", state), "takes '_orig_mod.module'"),
        "compiled inside": (inner, ""),
        "averaged model": (
            {"n_averaged": torch.tensor(3)} | renamed("module.", state),
            "takes 'module', leaves n_averaged",
        ),
        "lightning": (
            {"state_dict": renamed("model.", state) | {"loss.weight": torch.ones(10)}, "epoch": 3},
            "takes 'state_dict.model', leaves loss.weight",
        ),
        "a prefix of its own": (renamed("my_student.", state), "takes 'my_student'"),
        "net": ({"net": state, "acc": 93.0}, "takes 'net'"),
        "with an optimizer": ({"model": state, "optimizer": adam}, "takes 'model'"),
        "restoration": (
            {"params": other, "params_ema": state},
            "takes 'params_ema', averaged weights (EMA); 'params' would fit too",
        ),
        "raw and averaged in one": (
            renamed("model.", other) | renamed("model_ema.", state),
            "takes 'model_ema', averaged weights (EMA); 'model' would fit too",
        ),
        "the same twice": (
            {"state_dict": state, "best": dict(state)},
            "takes 'state_dict', the same as 'best'",
        ),
        "half": ({"model": {k: v.half() for k, v in state.items()}}, "takes 'model'"),
    }


NAMES = list(forms({}, {}))


@pytest.mark.parametrize("form", NAMES)
def test_the_same_weights_under_other_names(tmp_path: Path, form: str) -> None:
    network, other = models.fresh(SMALL, 1), models.fresh(SMALL, 5)
    network = network.half().float()  # so that the form with half floats holds the same
    value, said = forms(network.state_dict(), other.state_dict())[form]
    torch.save(value, tmp_path / "w.pth")
    source = models.find(SMALL, str(tmp_path / "w.pth"))
    assert source is not None
    target = models.fresh(SMALL, 2)
    fit = models.fill(target, SMALL, source)
    assert not fit.fresh
    assert said in fit.said
    assert bool(fit.said) == bool(said)
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(target.state_dict()[name], tensor), name
    spec, again, told = models.whole(SMALL.but(classes=2), source, ["original", "paper"])
    assert (spec.head, spec.classes, told) == ("paper", 10, fit.said)
    assert torch.equal(again.classifier[3].weight, network.classifier[3].weight)


def test_a_prefix_in_a_safetensors_file(tmp_path: Path) -> None:
    network = models.fresh(SMALL, 1)
    files.write_tensors(tmp_path / "w.safetensors", renamed("encoder.", network.state_dict()))
    target = models.fresh(SMALL, 2)
    fit = models.fill(target, SMALL, models.find(SMALL, str(tmp_path / "w.safetensors")))
    assert "takes 'encoder'" in fit.said
    assert torch.equal(target.classifier[3].weight, network.classifier[3].weight)


def test_two_networks_in_a_file_are_not_guessed_between(tmp_path: Path) -> None:
    value = {k: models.fresh(SMALL, i).state_dict() for i, k in enumerate(("teacher", "student"))}
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(EdgepruneError, match=r"2 times: under 'teacher', 'student' — save the one"):
        models.fill(models.fresh(SMALL, 2), SMALL, models.find(SMALL, str(tmp_path / "w.pth")))


def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "args": {"lr": 0.1}}, tmp_path / "w.pth")
    with pytest.raises(EdgepruneError, match=r"no tensors, but: epoch \(int\), args \(dict\)"):
        weights.read(tmp_path / "w.pth")
    turning: dict = {"deep": {"deeper": {"w": torch.ones(2)}}}
    turning["deep"]["top"] = turning  # a pickle may hold a circle
    torch.save(turning, tmp_path / "w.pth")
    source = weights.read(tmp_path / "w.pth")
    assert list(source.places) == ["deep.deeper"]
    with pytest.raises(EdgepruneError, match=r"no tensor of it matches; it holds deep.deeper: w"):
        models.fill(models.fresh(SMALL, 2), SMALL, source)


def test_another_architecture_is_told_by_what_differs(tmp_path: Path) -> None:
    """ResNet-34's tensors are not a part of ResNet-18's, nor the other way round."""
    small, large = (ModelSpec(f"torchvision/resnet{n}", head="original") for n in (18, 34))
    for spec in (small, large):
        torch.save(models.fresh(spec, 0).state_dict(), tmp_path / f"{spec.model[12:]}.pth")
    source = models.find(small, str(tmp_path / "resnet34.pth"))
    with pytest.raises(
        EdgepruneError, match=r"the network has no layer1\.2\.conv1\.weight \(64x"
    ) as e:
        models.fill(models.fresh(small, 0), small, source)
    assert "--partial" not in str(e.value)
    source = models.find(large, str(tmp_path / "resnet18.pth"))
    with pytest.raises(
        EdgepruneError, match=r"missing: layer1\.2\.conv1\.weight \(64x64x3x3\)"
    ) as e:
        models.whole(large, source, ["paper", "original"])
    assert "--partial" not in str(e.value)
    network = ModelSpec("torchvision/mobilenet_v2", head="original")
    with pytest.raises(EdgepruneError, match="does not fit torchvision/mobilenet_v2"):
        models.whole(network, models.find(network, str(tmp_path / "resnet18.pth")), ["original"])


def test_a_fault_in_what_is_not_taken_does_not_matter(tmp_path: Path) -> None:
    state = models.fresh(SMALL, 1).state_dict()
    broken = {"state": {0: {"exp_avg": torch.tensor([float("nan")])}}}
    torch.save({"model": state, "optimizer": broken}, tmp_path / "w.pth")
    models.fill(models.fresh(SMALL, 2), SMALL, models.find(SMALL, str(tmp_path / "w.pth")))
    state["features.0.conv.weight"][0] = float("nan")
    torch.save(
        {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
        tmp_path / "w.pth",
    )
    with pytest.raises(EdgepruneError, match="NaN or infinite"):
        models.fill(models.fresh(SMALL, 2), SMALL, models.find(SMALL, str(tmp_path / "w.pth")))


def test_without_weights_one_line_says_which_file_to_put_where(empty_home: Path) -> None:
    with pytest.raises(EdgepruneError, match=r"put them there: .*weights/vgg16_mine\.safetensors"):
        models.find(ModelSpec("vgg16"), "mine")


def test_our_own_metadata_win(tmp_path: Path) -> None:
    convention = Convention(64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "BGR")
    metadata = {
        "edgeprune.input": json.dumps(plain(convention)),
        "edgeprune.model": json.dumps(plain(SMALL.but(padding="same"))),
    }
    files.write_tensors(tmp_path / "own.safetensors", models.fresh(SMALL, 0).state_dict(), metadata)
    source = weights.read(tmp_path / "own.safetensors")
    assert (source.input, source.padding) == (convention, "same")


@pytest.mark.parametrize(
    "name", ["vgg17", "mobilenetv1-9", "torchvision/nothing", "timm/nothing", "x.py:f"]
)
def test_unknown_models_are_refused(name: str) -> None:
    with pytest.raises(EdgepruneError, match="--model"):
        models.build(ModelSpec(name))


def test_timm_names_become_ours() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("mobilenetv1_100", num_classes=12).eval()
    spec = ModelSpec("mobilenetv1", 12, "original")
    renamed = weights._timm_mobilenetv1(network.state_dict())
    renamed = {k: v for k, v in renamed.items() if not k.endswith("num_batches_tracked")}
    ours = models.fresh(spec, 0)
    assert models.fill(ours, spec, weights.Source("timm", renamed, Convention())).fresh == []
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(ours(x), network(x), atol=1e-5)


def test_same_padding_is_tensorflows() -> None:
    block = models.fresh(ModelSpec("mobilenetv1-0.25", padding="same"), 0).features[0]
    x = torch.randn(1, 3, 8, 8)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
    plain = torch.nn.functional.conv2d(padded, block.conv.weight, stride=2)
    assert torch.equal(block.conv(torch.nn.functional.pad(x, (0, 1, 0, 1))), plain)
    assert block(x).shape == (1, 8, 4, 4)
    assert block(torch.randn(1, 3, 9, 9)).shape == (1, 8, 5, 5)


@pytest.mark.parametrize("size", [32, 33])
def test_symmetric_and_same_differ_only_at_even_stride_two(size: int) -> None:
    spec = ModelSpec("mobilenetv1-0.25")
    symmetric, same = models.fresh(spec, 0), models.fresh(spec.but(padding="same"), 0)
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        a, b = symmetric.features[0](x), same.features[0](x)
    assert a.shape == b.shape
    assert torch.allclose(a, b) == (size % 2 == 1)


@pytest.mark.parametrize(
    ("model", "init", "head", "classes", "missing"),
    [
        ("vgg16", "tiny-imagenet", "paper", 10, 0),
        ("vgg16", "imagenet-first7", "paper", 10, 12),
        ("mobilenetv1", "imagenet", "paper", 10, 0),
        ("mobilenetv1", "imagenet-float", "paper", 10, 1),
        ("mobilenetv1-0.75", "imagenet", "original", 1000, 0),
    ],
)
def test_real_weights(
    real_home: Path, model: str, init: str, head: str, classes: int, missing: int
) -> None:
    spec = ModelSpec(model, classes, head)
    source = models.find(spec, init)
    spec = spec.but(**{k: v for k, v in vars(source).items() if k in ("padding", "bn_eps") and v})
    fit = models.fill(models.fresh(spec, 0), spec, source, partial=missing > 0)
    assert len(fit.fresh) - len(fit.head) == missing
    assert source.input.mean == (
        (0.5,) * 3 if model.startswith("mobile") else (0.485, 0.456, 0.406)
    )
