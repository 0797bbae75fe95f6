"""What the file of the trainer's figures holds."""

from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import cpu
from tests.bench.results import Results, rounded
from tests.bench.training.goals import GPU, NETWORKS, REFERENCE, TIMM, by_network, goals

FIGURES = "training.json"


@dataclass(frozen=True)
class Row:
    """One epoch, or one run, of one loop.

    Attributes:
        section: that measured it.
        round: of the section, from 0.
        loop: whose it is.
        network: that is trained.
        detail: what is special about it.
        device: `cpu`, or the name of the GPU.
        images_per_second: trained on; None where it was not timed.
        seconds: of what was timed.
        cpu_ms_per_image: of all the loop's processes; None where it was not measured.
        rss_mb: of all the loop's processes, at the end of it.
        gpu_peak_mb: allocated on the GPU; None without one.
        macro_f1: on validation, where it was judged.
    """

    section: str
    round: int
    loop: str
    network: str
    detail: str
    device: str
    images_per_second: float | None
    seconds: float
    cpu_ms_per_image: float | None
    rss_mb: float
    gpu_peak_mb: float | None = None
    macro_f1: float | None = None


class TrainingResults(Results[Row]):
    """Epochs of loops, and their ratios."""

    FIGURES = FIGURES

    @staticmethod
    def row(**values: Any) -> Row:
        return Row(**values)

    def figures(self) -> dict[str, Any]:
        ratios = {goal.key: rounded(self.median(goal.key)) for goal in goals()}
        return {
            "cpu": cpu.description(),
            **{
                key: {network: ratios[by_network(key, network)] for network in NETWORKS}
                for key in (REFERENCE, TIMM)
            },
            **{key: value for key, value in ratios.items() if "." not in key},
            "gpu": self._gpu(),
            "spread": {
                key: [rounded(min(values)), rounded(max(values))]
                for key, values in sorted(self.samples.items())
            },
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
        }

    def _gpu(self) -> dict[str, Any] | None:
        """None where there was no GPU."""
        names = {row.device for row in self.rows if row.section == GPU}
        if not names:
            return None
        found = {
            key.removeprefix(f"{GPU}."): rounded(self.median(key))
            for key in sorted(self.samples)
            if key.startswith(f"{GPU}.")
        }
        return {"name": ", ".join(sorted(names)), **found}
