"""The multiple of channels that onnxruntime's CPU provider computes in, on this machine.

At its default level the runtime lays convolutions out in blocks of channels (NCHWc): 16 with
AVX-512, 8 with AVX2. A width between two multiples is padded up and costs the time of the next one;
a width that is no multiple of 4 falls off the layout and can cost more than the dense layer.
"""

from __future__ import annotations

import platform
from pathlib import Path

BLOCKS = (("avx512f", 16), ("avx2", 8))  # first match wins; others, arm64 included, have no blocks
KERNELS = {  # what the runtime chooses its kernels by, and its short name
    "avx512f": "avx512", "avx512_vnni": "vnni", "avx_vnni": "vnni", "amx_int8": "amx",
    "avx2": "avx2", "asimddp": "dot", "i8mm": "i8mm",
}  # fmt: skip


def channel_block(flags: set[str] | None = None) -> int:
    """The block for a CPU with these instruction-set ``flags`` (default: this machine's)."""
    if flags is None:
        flags = cpu_flags()
    return next((width for flag, width in BLOCKS if flag in flags), 1)


def instructions(flags: set[str] | None = None) -> str:
    """``"avx512 vnni avx2"``: the instruction sets that decide which kernels run; one processor's name is
    sold with several (hypervisors hide some)."""
    if flags is None:
        flags = cpu_flags()
    return " ".join(dict.fromkeys(name for flag, name in KERNELS.items() if flag in flags))


def cpu_flags() -> set[str]:
    """Instruction sets of this machine; without /proc/cpuinfo an x86 is taken to have AVX2."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {"avx2"} if platform.machine().lower() in ("x86_64", "amd64") else set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
