"""A procedural phantom: chest-radiograph-like pictures with known findings, to try the bundle on.

No patient was ever imaged for it, and nothing learnt from it says anything about a patient.
"""

from train.phantom.dataset import (
    CLASSES,
    Balance,
    PhantomConfig,
    PhantomSummary,
    Progress,
    generate,
)

__all__ = [
    "CLASSES",
    "Balance",
    "PhantomConfig",
    "PhantomSummary",
    "Progress",
    "generate",
]
