"""Whether there is an NVIDIA GPU, asked of the kernel: no runtime needs to be imported for it."""

from pathlib import Path

# Of the driver, and of the Windows subsystem for Linux.
_NODES = ("dev/nvidiactl", "dev/dxg")


def no_gpu(root: Path = Path("/")) -> str | None:
    """Why nothing can run on a GPU, or None if one is worth a try."""
    return None if any((root / node).exists() for node in _NODES) else "there is no GPU"


def gpu_models(root: Path = Path("/")) -> list[str]:
    """What the driver says of each GPU and of itself; empty without a driver."""
    driver = root / "proc/driver/nvidia"
    files = [driver / "version", *sorted(driver.glob("gpus/*/information"))]
    texts = [file.read_text() for file in files if file.is_file()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if line.startswith(("Model:", "NVRM version:"))]
