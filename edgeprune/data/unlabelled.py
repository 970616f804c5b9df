"""Images without labels: any folder or archive that holds some, however deep they lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import EdgepruneError
from . import archives
from .faults import Faults, some
from .folders import SUFFIXES
from .loaders import MAX_SIZE, Split
from .pictures import Files
from .sources import Progress, in_home
from .transforms import canvas_for

NO_LABEL = -1
GIVE = (
    "give a folder or an archive of .jpg or .png, or arrays: FILE.npy, FILE.npz, FILE.py:FUNCTION"
)


def unlabelled(
    name: str,
    *,
    size: int,
    limit: int,
    skip_bad: bool = False,
    notes: Callable[[str], None] = lambda note: None,
    progress: Progress = lambda what, done, total: None,
) -> Split:
    """At most ``limit`` images of the folder or archive ``name``, decoded and kept, in order of name.

    ``name`` is a path or a name in the home folder's ``data``. Of more images the evenly spaced are
    taken, and it is said. Every label is ``NO_LABEL``. Raises :class:`EdgepruneError` for what is no
    folder, holds no images, or cannot be decoded (left out and counted with ``skip_bad``).
    """
    if not 1 <= size <= MAX_SIZE:
        raise EdgepruneError(
            f"--size {size}", f"1 to {MAX_SIZE} pixels are possible", "say one of those"
        )
    path = Path(name).expanduser()
    kept = None if os.path.exists(path) else in_home(name)
    if not os.path.exists(path) and kept is None:
        raise EdgepruneError(f"--images {name}", "no such folder or archive", GIVE)
    faults = Faults(name, skip_bad)
    try:
        tree = archives.open_tree(kept or path, faults)
    except EdgepruneError as e:
        raise EdgepruneError(f"--images {name}", e.why, GIVE) from None
    for note in faults.settle():
        notes(note)
    images = [n for n in sorted(tree.sizes) if n.lower().endswith(SUFFIXES)]
    if not images:
        others = f"; it holds {some(sorted(tree.sizes))}" if tree.sizes else ", it is empty"
        raise EdgepruneError(f"--images {name}", f"no images in it{others}", GIVE)
    if len(images) > limit:
        notes(f"{name}: looks at {limit:,} of {len(images):,} images, evenly spaced (--limit)")
        rows = np.linspace(0, len(images) - 1, limit).round().astype(np.int64)
        images = [images[i] for i in rows]
    n = len(images)
    split = Split(
        Files(tree, images), np.arange(n), np.full(n, NO_LABEL, np.int64), canvas_for(size)
    )
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(f"decoding {name}", done, n)

    split.decode(True, faults, told)
    for note in faults.settle():
        notes(note)
    if not len(split):
        raise EdgepruneError(f"--images {name}", "none of its images can be decoded", GIVE)
    return split
