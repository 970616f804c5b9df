"""What is read from an .onnx file before it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeprune.bench import subject
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import conv_net, macs, save


def test_operations_of_a_foreign_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", conv_net(width=16, classes=7, size=10))
    (found,) = subject.inspect([path])
    assert found.macs == macs(16, 7, 10)
    assert found.flops == 2 * found.macs
    assert found.params == 16 * 27 + 16 + 7 * 16 + 7
    assert (found.name, found.counted_by, found.bytes) == ("a", "graph", path.stat().st_size)


def test_a_fixed_batch_counts_one_image(tmp_path: Path) -> None:
    (found,) = subject.inspect([save(tmp_path / "a.onnx", conv_net(batch=1))])
    (several,) = subject.inspect([save(tmp_path / "b.onnx", conv_net())], batch=5)
    assert found.macs == several.macs == macs()


@pytest.mark.parametrize("kind", ["grouped", "transposed", "matmul"])
def test_counting_rules(kind: str) -> None:
    """By hand: 8 -> 8 channels on 6x6, kernel 3, groups 4; transposed 4 -> 6, kernel 2; 5x7 @ 7x3."""
    text, expected = {
        "grouped": (
            "g (float[1,8,6,6] x) => (float[1,8,6,6] y) <float[8,2,3,3] w>"
            "{ y = Conv<group=4, pads=[1,1,1,1]>(x, w) }",
            8 * 36 * 2 * 9,
        ),
        "transposed": (
            "g (float[1,4,5,5] x) => (float[1,6,10,10] y) <float[4,6,2,2] w>"
            "{ y = ConvTranspose<strides=[2,2]>(x, w) }",
            4 * 25 * 6 * 4,
        ),
        "matmul": (
            "g (float[1,5,7] x) => (float[1,5,3] y) <float[7,3] w> { y = MatMul(x, w) }",
            105,
        ),
    }[kind]
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    for value in list(model.graph.value_info):  # the text form declares weights as values
        if value.name == "w":
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            n = 1
            for d in dims:
                n *= d
            model.graph.initializer.append(onnx.helper.make_tensor("w", 1, dims, [0.0] * n))
    if not model.graph.initializer:
        pytest.fail("the parser kept no weight")
    assert subject.count(model)["macs"] == expected


def test_unknown_shapes_are_not_guessed(tmp_path: Path) -> None:
    model = conv_net()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "S"
    (found,) = subject.inspect([save(tmp_path / "a.onnx", model)])
    assert found.macs is None
    (found,) = subject.inspect([save(tmp_path / "a.onnx", model)], shapes={"images": [1, 3, 8, 8]})
    assert found.macs == macs()


def test_metadata_count_only_where_all_have_them(tmp_path: Path) -> None:
    own = {"edgeprune__params": "1", "edgeprune__macs": "2", "edgeprune__flops": "4"}
    a, b = save(tmp_path / "a.onnx", **own), save(tmp_path / "b.onnx")
    assert [s.flops for s in subject.inspect([a, a])] == [4, 4]
    assert [s.flops for s in subject.inspect([a, b])] == [2 * macs()] * 2


def test_names_differ(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    paths = [save(tmp_path / f / "net.onnx") for f in ("x", "y")]
    assert [s.name for s in subject.inspect(paths)] == ["x/net", "y/net"]
    assert [s.name for s in subject.inspect([paths[0]] * 2)] == ["net#1", "net#2"]


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"\x00" * 100, conv_net().SerializeToString()[:300]]
)
def test_what_is_no_whole_model_is_said_in_a_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(raw)
    with pytest.raises(EdgepruneError, match=r"x\.onnx") as e:
        subject.inspect([path])
    assert "\n" not in str(e.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="no such file"):
        subject.inspect([tmp_path / "none.onnx"])
    with pytest.raises(EdgepruneError, match="a folder"):
        subject.inspect([tmp_path])


def external(path: Path, location: str) -> Path:
    """The tiny network with its convolution's weights in another file."""
    model = conv_net()
    tensor = model.graph.initializer[0]
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    save(path, model)
    if "/" not in location:
        (path.parent / location).write_bytes(raw)
    return path


def test_external_data_travel_along(tmp_path: Path) -> None:
    path = external(tmp_path / "a.onnx", "weights.bin")
    (found,) = subject.inspect([path])
    assert found.files == {"weights.bin": tmp_path / "weights.bin"}
    assert found.bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(EdgepruneError, match=r"weights\.bin' is missing"):
        subject.inspect([path])


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", ""])
def test_a_model_that_asks_for_another_path_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(EdgepruneError, match="outside its folder"):
        subject.inspect([external(tmp_path / "a.onnx", location or "/")])


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    path = external(inside / "a.onnx", "weights.bin")
    (inside / "weights.bin").rename(tmp_path / "weights.bin")
    (inside / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(EdgepruneError, match="outside its folder"):
        subject.inspect([path])


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx")
    for name, sizes, why in (
        ("images", (1, 3), "4 axes"),
        ("imgs", (1, 3, 8, 8), "but: images"),
        ("c.weight", (8, 3, 3, 3), "but: images"),
        ("images", (1, 3, 0, 8), "at least 1"),
    ):
        with pytest.raises(EdgepruneError, match=why):
            subject.inspect([path], shapes={name: sizes})


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul", "QLinearConv"])
def test_counted_operators_without_inputs_are_not_counted(operator: str) -> None:
    model = conv_net()
    model.graph.node.append(onnx.helper.make_node(operator, [], ["y"]))
    assert subject.count(model)["macs"] is None


def test_external_data_anywhere_in_the_file_stay_in_its_folder(tmp_path: Path) -> None:
    """In a sparse weight and in the body of a function, too."""

    def outside(name: str) -> onnx.TensorProto:
        tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), name)
        onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
        tensor.ClearField("raw_data")
        return tensor

    sparse = conv_net()
    entry = sparse.graph.sparse_initializer.add()
    entry.values.CopyFrom(outside("s"))
    function = conv_net()
    constant = onnx.helper.make_node("Constant", [], ["c"], value=outside("c"))
    function.functions.append(
        onnx.helper.make_function(
            "own", "F", [], ["c"], [constant], [onnx.helper.make_opsetid("", 18)]
        )
    )
    for model in (sparse, function):
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(EdgepruneError, match="outside its folder"):
            subject.inspect([tmp_path / "a.onnx"])


def in_constants(model):
    """The same model with its weights in ``Constant`` nodes, as some exporters write them."""
    nodes = [
        onnx.helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer
    ]
    rest = [*nodes, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(rest)
    return model


def test_parameters_in_constant_nodes_are_counted() -> None:
    model = conv_net(width=4)
    counts = subject.count(model)
    assert counts["params"]
    assert subject.count(in_constants(conv_net(width=4))) == counts
