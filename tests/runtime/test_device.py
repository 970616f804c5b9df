"""What a device's profile is kept under: what was learnt on other kernels says nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune import files, records
from edgeprune.cli import app, errors
from edgeprune.runtime import blocks, device
from edgeprune.runtime.predictor import NONE, Model

AVX2 = {"avx2", "fma"}
WIDER = {
    "avx512": AVX2 | {"avx512f"},
    "avx512-vnni": AVX2 | {"avx512f", "avx512_vnni"},
    "vnni": AVX2 | {"avx_vnni"},
}


@pytest.mark.parametrize("others", list(WIDER))
def test_one_name_with_other_instruction_sets_is_another_device(
    others: str,
    empty_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same processor's name, as rented machines give it, with AVX2 alone and with more."""
    monkeypatch.setattr(device, "cpu", lambda: "AMD EPYC")
    monkeypatch.setattr(blocks, "cpu_flags", lambda: AVX2)
    known = device.Device(
        "AMD EPYC", "1", Model(8, NONE, {}, (0.0, 0.0), (1e-3, 0.0, 0.0)),
        device.Error(0.03, 0.1, None, 64), "now",
    )  # fmt: skip
    files.write_json(device.profile_path(), records.plain(known))
    assert device.kept() is not None
    monkeypatch.setattr(blocks, "cpu_flags", lambda: WIDER[others])
    assert f"amd-epyc-{others}-avx2-ort" in device.profile_path().name
    assert device.kept() is None
    assert errors.run(app.app, ["cost", "--model", "mobilenetv1-0.25", "--device", "cpu"]) == 2
    assert "edgeprune doctor --probe --device cpu" in capsys.readouterr().err


def test_another_device_keeps_its_own_name(empty_home: Path) -> None:
    assert device.profile_path("ssh://board", 2).name == "ssh-board-2t.json"
