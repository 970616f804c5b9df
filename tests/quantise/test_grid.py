"""The grid of weights in 8 bits: what two neighbours add up to, and rounding that others make up for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgeprune import quantise
from edgeprune.quantise import grid
from tests.quantise.nets import Narrow, examples, file


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_step_by_the_largest_weight_or_by_two_neighbours_of_one_sign() -> None:
    W = torch.tensor([[[127.0, 1, 0, -3], [100, 92, -5, 0], [100, -92, -64, -96], [3, 0, 0, 254]]])
    expected = torch.tensor([1.0, 192 / 128, 160 / 128, 2.0])
    assert torch.allclose(grid.steps(W)[0, :, 0], expected)
    assert torch.allclose(
        grid.steps(W[:, :, :3])[0, :, 0], torch.tensor([1, 1.5, 100 / 127, 3 / 127])
    )
    deep = W.transpose(0, 1)  # four channels of a depthwise layer: no pair is added in 16 bits
    assert torch.allclose(grid.steps(deep)[:, 0, 0], torch.tensor([1.0, 100 / 127, 100 / 127, 2.0]))
    alone = torch.tensor([[[100.0, 92]]])  # a layer of one filter is no depthwise one
    assert grid.steps(alone).item() == pytest.approx(1.5)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_rounding_in_turn_gives_what_the_layer_gave(ridge: float) -> None:
    """On inputs that go together a rounding error can be made up for; to the nearest it stays."""
    X = random(800, 6) @ random(6, 150, seed=1) + 0.1 * random(800, 150, seed=2)  # three blocks
    W, S = random(1, 10, 150, seed=3), (X.T @ X / len(X))[None]
    found, nearest = grid.rounded_in_turn(W, S, ridge), grid.rounded(W)

    def error(V: Tensor) -> float:
        return float((X @ (V - W)[0].T).square().mean())

    assert error(found) < 0.4 * error(nearest)
    step = grid.steps(W)
    assert torch.allclose(grid.steps(found), step)  # the file takes the same steps
    q = found / step
    assert torch.allclose(q, q.round(), atol=1e-9)
    assert q.abs().max() <= 127
    assert grid.pairs(q).max() <= 128 + 1e-9


def test_rounding_in_turn_leaves_room_for_each_neighbour() -> None:
    X = random(800, 6) @ random(6, 150, seed=1) + 0.1 * random(800, 150, seed=2)
    W = 10 + 0.1 * random(1, 40, 150, seed=4)  # all pairs are near the limit
    found = grid.rounded_in_turn(W, (X.T @ X / len(X))[None], 1e-3)
    assert torch.allclose(grid.steps(found), grid.steps(W))
    assert grid.pairs(found / grid.steps(W)).max() <= 128 + 1e-9


def test_groups_that_read_nothing_are_rounded_to_the_nearest() -> None:
    W, S = random(3, 1, 9), torch.zeros(3, 9, 9, dtype=torch.float64)
    S[1] = -1e-17  # what rounding leaves of a map that is always 0
    S[2] = torch.eye(9)
    found = grid.rounded_in_turn(W, S, 1e-3)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, grid.rounded(W))  # and so where nothing goes together


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide = nn.Conv2d(3, 8, 3)
        self.two = nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 5)
        for layer in (self.wide, self.two, self.head):
            layer.weight.data.abs_()  # neighbours of one sign

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.two(torch.relu(self.wide(x)))).mean((2, 3)))


def test_no_two_neighbours_of_a_file_overflow_16_bits(tmp_path: Path) -> None:
    """A processor without VNNI gives what the arithmetic gives: bright inputs, weights of one sign."""
    source = file(Product(), tmp_path / "f.onnx")
    proto = quantise.of_file(source, [x.abs() for x in examples()], "minmax").proto
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for name in ("wide", "two", "head"):
        q = held[f"{name}.weight_quantized"].astype(int)
        rows = np.moveaxis(q, 1, -1).reshape(len(q), -1)  # channels of one place side by side
        rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(q), -1, 2)
        assert np.abs(rows.sum(-1)).max() <= 129  # 128, and what rounding both may add
        assert q.max() > 60  # and not by a bit less for all


def test_an_output_of_a_matrix_product_is_not_rounded(tmp_path: Path) -> None:
    source = file(Narrow(), tmp_path / "f.onnx")
    proto = quantise.of_file(source, examples(), "minmax").proto
    maker = next(n for n in proto.graph.node if proto.graph.output[0].name in n.output)
    assert maker.op_type in ("Gemm", "MatMul")
    assert not any("logits_QuantizeLinear" in name for n in proto.graph.node for name in n.output)
    onnx.checker.check_model(proto, full_check=True)
