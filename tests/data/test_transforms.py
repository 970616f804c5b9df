"""Decoding of every odd image, and augmentation and normalisation of batches."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import transforms
from edgeprune.data.transforms import AUGMENTS, BadImageError, decode, normalise
from edgeprune.models import Convention

from .pictures import encoded, picture

RED = (220, 30, 40)


def mean(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_formats(form: str) -> None:
    pixels = decode(encoded(picture(RED), form), 8)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(mean(pixels) - RED).max() < 8


def test_same_size_is_not_touched() -> None:
    image = picture(RED, (16, 16))
    assert np.array_equal(decode(encoded(image), 16), np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA", "YCbCr", "I;16"])
def test_modes_become_rgb(mode: str) -> None:
    white = Image.new("RGB", (12, 10), "white")
    if mode == "I;16":
        image = Image.fromarray(np.full((10, 12), 65535, np.uint16))
    else:
        image = white.convert(mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert (decode(encoded(image, form), 8) >= 254).all()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.full((10, 12), 128 * 257, np.uint16)
    for raw in (encoded(Image.fromarray(values)), encoded(Image.fromarray(values), "TIFF")):
        assert (decode(raw, 10) == 128).all()
    pgm = b"P5 12 10 65535\n" + values.byteswap().tobytes()
    assert (decode(pgm, 10) == 128).all()


def test_transparent_becomes_white() -> None:
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    assert (decode(encoded(image), 10) == 255).all()
    palette = Image.new("P", (10, 10), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert (decode(encoded(palette, "PNG", transparency=0), 10) == 255).all()


def test_cmyk_jpeg() -> None:
    assert np.abs(mean(decode(encoded(picture(RED).convert("CMYK"), "JPEG"), 8)) - RED).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)  # top left red, top right green, below black
    upright[:8, 8:] = (0, 255, 0)
    stored = Image.fromarray(upright)
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)  # inverse of a quarter turn
    if undo in transforms.TURNS:
        stored = stored.transpose(transforms.TURNS[undo])
    exif = Image.Exif()
    exif[transforms.ORIENTATION] = orientation
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif), 16), upright)


def test_long_images_are_cropped_in_the_middle() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert (decode(encoded(Image.fromarray(pixels)), 10) == 255).all()
    assert (decode(encoded(Image.fromarray(pixels.transpose(1, 0, 2))), 10) == 255).all()
    strip = Image.new("RGB", (1, 20_000), "white")  # scaled first it would be 4 million rows high
    assert (decode(encoded(strip), 224) == 255).all()


def test_shrinking_is_antialiased() -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[::2] = 255
    pixels = decode(encoded(Image.fromarray(lines)), 8).astype(int)
    assert np.abs(pixels - 128).max() < 16  # without, rows would be black or white


def test_large_jpegs_decode_like_their_pixels() -> None:
    y, x = np.mgrid[0:600, 0:600]
    smooth = np.stack([x * 255 // 600, y * 255 // 600, (x + y) * 255 // 1200], -1).astype(np.uint8)
    image = Image.fromarray(smooth)
    by_draft = decode(encoded(image, "JPEG", quality=95), 32).astype(int)
    assert np.abs(by_draft - decode(encoded(image), 32)).max() < 8


JPEG = encoded(picture(RED, (64, 64)), "JPEG")
PNG = encoded(picture(RED, (64, 64)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html>", "not an image"),
        (JPEG[:20], "."),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (PNG[:100] + bytes(200) + PNG[300:], "corrupt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
    ids=["empty", "html", "header", "half-jpeg", "half-png", "holes", "postscript"],
)
def test_broken_images(raw: bytes, why: str) -> None:
    with pytest.raises(BadImageError, match=why) as e:
        decode(raw, 32)
    assert str(e.value).isprintable()


def test_decompression_bomb() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    for side in (10_000, 100_000):
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        rows = zlib.compress(bytes(1000))
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
        with pytest.raises(BadImageError, match="bomb"):
            decode(bomb + chunk(b"IEND", b""), 32)


def test_grey_beyond_sixteen_bits_and_floats_are_refused() -> None:
    big = Image.fromarray(np.full((8, 8), 1_000_000, np.int32))
    with pytest.raises(BadImageError, match="16 bits"):
        decode(encoded(big, "TIFF"), 8)
    with pytest.raises(BadImageError, match="floating"):
        decode(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), 8)


def batch(n: int = 16, canvas: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, canvas, canvas, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", list(AUGMENTS))
@pytest.mark.parametrize(("canvas", "size"), [(32, 32), (37, 32), (33, 32)])
def test_augmentations_are_whole_and_repeatable(name: str, canvas: int, size: int) -> None:
    images = batch(16, canvas)
    before = images.copy()
    crop = AUGMENTS[name].crop
    first = crop(images, size, np.random.default_rng(1))
    assert first.shape == (16, size, size, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, crop(images, size, np.random.default_rng(1)))
    assert np.array_equal(images, before)
    other = crop(images, size, np.random.default_rng(2))
    assert np.array_equal(first, other) == (name == "none")


def test_digits_are_never_mirrored_and_move_two_pixels_at_most() -> None:
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[:, 16, 8] = 255  # one dot, left of the middle
    moved = AUGMENTS["digits"].crop(images, 32, np.random.default_rng(0))
    rows, columns = np.nonzero(moved[..., 0])[1:]
    assert set(rows) == {14, 15, 16, 17, 18}
    assert set(columns) == {6, 7, 8, 9, 10}


def test_small_images_move_four_pixels_and_half_are_mirrored() -> None:
    images = np.zeros((400, 32, 32, 3), np.uint8)
    images[:, 16, 8] = 255
    columns = np.nonzero(AUGMENTS["small"].crop(images, 32, np.random.default_rng(0))[..., 0])[2]
    assert set(columns) == {*range(4, 13), *range(31 - 12, 31 - 3)}
    assert 150 < (columns > 15).sum() < 250


def test_photos_are_zoomed_within_the_picture() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (50, 1, 64, 3))
    zoomed = AUGMENTS["photos"].crop(ramp, 56, np.random.default_rng(0)).astype(int)
    spans = zoomed[:, -1, 0, 0] - zoomed[:, 0, 0, 0]  # rows of the source that are seen
    assert spans.min() < 40 < 50 < spans.max()
    assert zoomed.min() >= 0
    assert zoomed.max() <= 63


def test_photos_lose_no_more_than_a_third_and_half_are_mirrored() -> None:
    """At 35 % of 64 x 64 and aspect 4/3 a crop is sqrt(0.35 / (4/3)) 64 = 32.8 rows high, no less."""
    down = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (400, 1, 64, 3))
    zoomed = AUGMENTS["photos"].crop(down, 56, np.random.default_rng(0)).astype(int)
    spans = zoomed[:, -1, 0, 0] - zoomed[:, 0, 0, 0]  # from middle to middle of the outer pixels
    assert 32.8 * (1 - 1 / 56) - 1 <= spans.min() <= 36
    across = np.ascontiguousarray(down.transpose(0, 2, 1, 3))
    turned = AUGMENTS["photos"].crop(across, 56, np.random.default_rng(0)).astype(int)
    mirrored = turned[:, 0, -1, 0] < turned[:, 0, 0, 0]
    assert 160 < mirrored.sum() < 240


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalise_is_the_formula(channels: str) -> None:
    images = batch(5, 16)
    convention = Convention(16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), channels)
    x = normalise(images, convention)
    order = images if channels == "RGB" else images[..., ::-1].copy()
    plain = torch.from_numpy(order).permute(0, 3, 1, 2).double() / 255
    mean_, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (convention.mean, convention.std))
    assert x.dtype == torch.float32
    assert x.shape == (5, 3, 16, 16)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x.double(), (plain - mean_) / std, atol=1e-6)


def test_jitter_is_contrast_about_grey_and_brightness() -> None:
    images = np.full((300, 4, 4, 3), 127.5, np.float32).astype(np.uint8)
    convention = Convention(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    lifted = normalise(images, convention, 0.2, np.random.default_rng(0))[:, 0, 0, 0] - 0.5
    assert 0.08 < lifted.max() < 0.105  # brightness alone moves mid-grey, by a tenth at most
    assert -0.105 < lifted.min() < -0.08
    ends = np.zeros((300, 1, 2, 3), np.uint8)
    ends[:, 0, 1] = 255
    x = normalise(ends, convention, 0.2, np.random.default_rng(0))
    contrast = x[:, 0, 0, 1] - x[:, 0, 0, 0]
    assert 0.8 <= contrast.min() < 0.83
    assert 1.17 < contrast.max() <= 1.2 + 1e-6


def test_augmentation_suits_the_set() -> None:
    assert transforms.augment_for(tuple("0123456789"), 32) == "digits"
    assert transforms.augment_for(("cat", "dog"), 32) == "small"
    assert transforms.augment_for(("cat", "dog"), 96) == "photos"


def test_canvas() -> None:
    assert [transforms.canvas_for(s) for s in (28, 32, 64, 96, 224)] == [28, 32, 64, 110, 256]


def test_a_small_file_of_many_deep_pixels_is_refused_by_its_peak(tmp_path: Path) -> None:
    """173 KB of 16-bit grey, 9,000 x 9,900 px: decoding it took 1.6 GB."""
    import subprocess
    import sys

    program = (
        "import io, resource, sys\n"
        "from PIL import Image\n"
        "from edgeprune.data.transforms import BadImageError, decode\n"
        "out = io.BytesIO()\n"
        "Image.new('I;16', (9000, 9900)).save(out, 'PNG')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode(out.getvalue(), 32)\n"
        "except BadImageError as e: print(e)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    said, more = done.stdout.splitlines()
    assert "decompression bomb" in said
    assert int(more) < 100  # MiB


def test_sixteen_bits_are_scaled_block_by_block() -> None:
    values = (np.arange(200 * 150, dtype=np.uint32) * 2 % 65536).astype(np.uint16).reshape(200, 150)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    with Image.open(io.BytesIO(out.getvalue())) as image:
        found = np.asarray(transforms._rgb(image))[:, :, 0]
    assert np.array_equal(found, ((values.astype(np.int64) + 128) // 257).astype(np.uint8))
