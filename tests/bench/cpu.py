"""Which CPU was measured on."""

from pathlib import Path
from typing import Any

_NAMED = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


def description() -> dict[str, Any]:
    """What a file of figures says of it."""
    return {"model": model(), "instruction_sets": instruction_sets()}


def model() -> str:
    return _value("model name") or "unknown"


def instruction_sets() -> list[str]:
    """Those of this CPU that matter to an engine."""
    flags = set((_value("flags") or _value("Features")).split())
    return [name for name in _NAMED if name in flags]


def _value(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
