"""From a file's bytes to a square of pixels, and from pixels to the network's input.

Letters: N images, S side of the network's input, canvas >= S side of the stored squares.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..records import Convention

Pixels = NDArray[np.uint8]

# Only plain raster formats: Pillow would start Ghostscript for an EPS that calls itself .jpg.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 90_000_000  # an image above this is taken for a decompression bomb (Pillow's limit)
MAX_BYTES = 768 << 20  # that decoding one may take at its peak
ROWS = 64  # of 16-bit pixels that are scaled at a time
PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # EXIF tag
TURNS = {  # EXIF orientation -> what undoes it (EXIF 2.32, table 4.6.4 A)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `decode` tells what is wrong with an image; Pillow's own remarks would only tear progress bars.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImageError(ValueError):
    """An image that cannot be used; the text is the reason."""


def canvas_for(size: int) -> int:
    """Side of the stored squares: ``size`` up to 64 px, above that 8/7 of it (256 for 224)."""
    return size if size <= 64 else round(size * 8 / 7)


def decode(raw: bytes, canvas: int) -> Pixels:
    """An encoded image as uint8 RGB [canvas, canvas, 3]; :class:`BadImageError` says what is wrong.

    The shorter side becomes ``canvas`` (antialiased, bilinear), the middle square is kept. EXIF
    rotation is applied, 16-bit grey is scaled to 8 bits, transparent areas become white.
    """
    if not raw:
        raise BadImageError("empty file")
    if raw.startswith(PNG):
        _check_png(raw)
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImageError(f"{image.width}x{image.height} px, a decompression bomb")
            image.draft(None, (2 * canvas, 2 * canvas))  # JPEG: decode at 1/2, 1/4 or 1/8 scale
            needed = image.width * image.height * _bytes_a_pixel(image)
            if needed > MAX_BYTES:
                raise BadImageError(
                    f"{image.width}x{image.height} px, {needed >> 20} MiB to decode: a decompression bomb"
                )
            turn = _turn(image)
            return fit(image, canvas, turn)
    except BadImageError:
        raise
    except Image.UnidentifiedImageError:
        raise BadImageError("not an image") from None
    except Image.DecompressionBombError:
        raise BadImageError("a decompression bomb") from None
    except Exception as e:  # decoders of broken files raise whatever they stumble over
        raise BadImageError(reason(e)) from None


def side(raw: bytes) -> int:
    """The shorter side of an encoded image in pixels, from its header alone."""
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            return min(image.size)
    except Exception as e:  # as in `decode`
        raise BadImageError(reason(e)) from None


def fit(image: Image.Image, canvas: int, turn: Image.Transpose | None = None) -> Pixels:
    """The middle square of ``image``, turned upright, as uint8 RGB [canvas, canvas, 3]."""
    image = _rgb(image)
    w, h = image.size
    side = min(w, h)
    if (w, h) != (canvas, canvas):
        # Cropping and scaling at once: a strip of 1 x 50,000 px never becomes a huge picture.
        left, top = (w - side) / 2, (h - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((canvas, canvas), Image.Resampling.BILINEAR, box=box)
    if turn is not None:
        image = image.transpose(turn)
    return np.asarray(image)


def _check_png(raw: bytes) -> None:
    """Pillow checks no CRC of pixel data, so that holes in a download would become pixels."""
    at = len(PNG)
    while at + 8 <= len(raw):
        length, kind = struct.unpack_from(">I4s", raw, at)
        end = at + 8 + length
        if kind == b"IDAT" and raw[end : end + 4] != struct.pack(
            ">I", zlib.crc32(raw[at + 4 : end])
        ):
            raise BadImageError("truncated" if end + 4 > len(raw) else "corrupt (checksum)")
        at = end + 4


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # unreadable EXIF says nothing about how the pixels lie
        return None


def _bytes_a_pixel(image: Image.Image) -> int:
    """At the peak of `_rgb`: Pillow keeps 4 bytes of an RGB pixel, and each conversion is a copy."""
    if image.mode.startswith("I") or image.mode == "F":
        return 12
    if image.has_transparency_data:
        return 16
    return 4 if image.mode == "RGB" else 8


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        grey = np.empty(values.shape, np.uint8)
        for block in range(
            0, len(values), ROWS
        ):  # a copy of all of it in int64 would be 8 bytes a pixel
            rows = values[block : block + ROWS].astype(np.int64)
            if rows.min() < 0 or rows.max() > 65535:
                raise BadImageError("grey values beyond 16 bits")
            grey[block : block + ROWS] = (rows + 128) // 257
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise BadImageError("floating-point pixels without a known range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def reason(error: Exception) -> str:
    """In words, without the address in memory that Pillow gives."""
    if isinstance(error, UnidentifiedImageError):
        return "corrupt (no image of a known kind)"
    text = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in text.lower():
        return "truncated"
    return f"corrupt ({text[:100]})"


# Augmentation: whole batches of uint8 [N, canvas, canvas, 3] -> [N, S, S, 3]

Crop = Callable[[Pixels, int, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Augment:
    """Where the crops lie, and how far contrast and brightness wander (share of full scale)."""

    crop: Crop
    jitter: float = 0.0


def centre(images: Pixels, size: int, rng: np.random.Generator | None = None) -> Pixels:
    """The middle S x S of each image (a view)."""
    low = (images.shape[1] - size) // 2
    return images[:, low : low + size, low : low + size]


def shift(images: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Shifts by up to S/16 (2 px at 32), never mirrored: a mirrored 2 is no 2."""
    return _crops(images, size, size // 16, np.zeros(len(images), dtype=bool), rng)


def shift_and_flip(images: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Pad S/8 (4 px at 32), crop S x S at random, mirror half: He et al. 2015, section 4.2."""
    flips = np.less(rng.random(len(images)), 0.5)
    return _crops(images, size, size // 8, flips, rng)


def _crops(
    images: Pixels, size: int, pad: int, flips: NDArray[np.bool_], rng: np.random.Generator
) -> Pixels:
    n, canvas = images.shape[:2]
    if canvas > size:  # the canvas itself leaves room to move
        pad = 0
    if pad:
        padded = np.zeros((n, canvas + 2 * pad, canvas + 2 * pad, 3), np.uint8)
        padded[:, pad:-pad, pad:-pad] = images
        images = padded
    room = images.shape[1] - size + 1
    tops, lefts = rng.integers(0, room, (2, n)).tolist()
    out = np.empty((n, size, size, 3), np.uint8)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = images[i, top : top + size, left : left + size]
        out[i] = crop[:, ::-1] if flips[i] else crop
    return out


def zoom_and_flip(images: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A rectangle of 35 to 100 % of the canvas, aspect 3/4 to 4/3, scaled to S x S; mirror half.

    Szegedy et al. 2014, section 6, with a larger smallest area (8 % there): sets that are
    fine-tuned on are small and their objects fill the picture (assumption, not tuned).
    """
    n, canvas = images.shape[:2]
    area = rng.uniform(0.35, 1.0, n) * canvas**2
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
    width = np.minimum(np.sqrt(area * aspect), canvas)
    height = np.minimum(np.sqrt(area / aspect), canvas)
    left, top = rng.random(n) * (canvas - width), rng.random(n) * (canvas - height)
    boxes = np.stack([left, top, left + width, top + height], axis=1).tolist()
    flips = np.less(rng.random(n), 0.5)
    out = np.empty((n, size, size, 3), np.uint8)
    for i, box in enumerate(boxes):
        crop = Image.fromarray(images[i]).resize(
            (size, size), Image.Resampling.BILINEAR, tuple(box)
        )
        pixels: Pixels = np.asarray(crop)
        out[i] = pixels[:, ::-1] if flips[i] else pixels
    return out


AUGMENTS = {
    "none": Augment(centre),
    "digits": Augment(shift),
    "small": Augment(shift_and_flip),
    "photos": Augment(zoom_and_flip, jitter=0.2),
}


def augment_for(classes: tuple[str, ...], size: int) -> str:
    """The augmentation suited to a set: no mirroring for digits, zooming for photographs."""
    if set(classes) == set("0123456789"):
        return "digits"
    return "small" if size <= 64 else "photos"


LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


def normalise(
    images: Pixels,
    convention: Convention,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in channels_last: ``(pixel/255 - mean) / std``.

    ``jitter`` stretches each image's contrast about mid-grey and lifts its brightness by up to
    that share; it costs nothing, since both are folded into the same multiply and add. NumPy and
    not torch does it: in a background thread torch would open a second team of OpenMP threads.
    """
    n, h, w = images.shape[:3]
    if convention.channels == "GREY":
        return _grey(images, convention, jitter, rng)
    if convention.channels == "BGR":
        images = images[..., ::-1]
    std = np.asarray(convention.std, np.float64)
    scale, offset = 1 / (255 * std), -np.asarray(convention.mean, np.float64) / std
    gain, lift = _jittered(n, jitter, rng)
    # One row of S*3 values, so that the innermost loop is long (an axis of 3 is 10 times slower).
    scales = np.tile(gain * scale, w).astype(np.float32)  # [N, S*3]
    offsets = np.tile(lift / std + offset, w).astype(np.float32)
    out = np.empty((n, h, w * 3), np.float32)
    for i in range(n):  # image by image: it stays in the cache between the two passes
        np.multiply(images[i].reshape(h, w * 3), scales[i], out=out[i])
        out[i] += offsets[i]
    return torch.from_numpy(out.reshape(n, h, w, 3)).permute(0, 3, 1, 2)


def _jittered(
    n: int, jitter: float, rng: np.random.Generator | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each image is multiplied by, and what is added; [n, 1] each."""
    if not jitter or rng is None:
        return np.ones((n, 1)), np.zeros((n, 1))
    gain = rng.uniform(1 - jitter, 1 + jitter, (n, 1))
    return gain, (1 - gain) / 2 + rng.uniform(-jitter, jitter, (n, 1)) / 2


def _grey(
    images: Pixels, convention: Convention, jitter: float, rng: np.random.Generator | None
) -> Tensor:
    """As `normalise`, to one channel: [N, 1, S, S]."""
    mean, std = (float(LUMA @ np.asarray(v, np.float32)) for v in (convention.mean, convention.std))
    gain, lift = (v.astype(np.float32)[..., None] for v in _jittered(len(images), jitter, rng))
    grey = images.astype(np.float32) @ LUMA / 255
    return torch.from_numpy(((grey * gain + lift - mean) / std)[:, None])
