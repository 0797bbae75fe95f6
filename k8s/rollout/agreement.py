"""How far two models agree on the same images, from the request logs of both.

Meant for mirrored requests: both sides log a request under the id that it came with (header
`x-request-id`), and so their lines pair. What is left pairs by the hash of the image, once for each
image, because a model answers the same image always alike.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from k8s.rollout.interval import wilson
from k8s.rollout.request_log import Line, LogError, read

_ABSTAINED = "Indeterminate"
# As of a rollout that ended with a rollback.
DISAGREE = 3

Pair = tuple[Line, Line]


@dataclass(frozen=True)
class Pairs:
    """Lines of the same image.

    Attributes:
        by_request: primary's and target's lines of the same request.
        by_image: of others that had the same image.
        mismatched: of the same request, but of different images; compared by their images.
        primary_only, target_only: lines without a counterpart.
    """

    by_request: tuple[Pair, ...]
    by_image: tuple[Pair, ...]
    mismatched: int
    primary_only: int
    target_only: int

    @property
    def all_of(self) -> tuple[Pair, ...]:
        return self.by_request + self.by_image


def paired(primary: Iterable[Line], target: Iterable[Line]) -> Pairs:
    """Every line with its counterpart. Of lines with the same request and image the last counts."""
    left = {(line.request_id, line.image): line for line in primary}
    right = {(line.request_id, line.image): line for line in target}
    both = left.keys() & right.keys()
    same = [key for key in left if key in both and left[key].sha256 == right[key].sha256]
    for key in same:
        both.remove(key)
    by_request = tuple((left.pop(key), right.pop(key)) for key in same)
    ours = {line.sha256: line for line in left.values() if line.sha256 is not None}
    theirs = {line.sha256: line for line in right.values() if line.sha256 is not None}
    by_image = tuple((line, theirs[hashed]) for hashed, line in ours.items() if hashed in theirs)
    known = {line.sha256 for line, _ in by_image}
    return Pairs(
        by_request,
        by_image,
        mismatched=len(both),
        primary_only=sum(line.sha256 not in known for line in left.values()),
        target_only=sum(line.sha256 not in known for line in right.values()),
    )


def figures(pairs: Pairs, confidence: float = 0.95) -> dict[str, Any]:
    """Of all pairs; intervals take images for independent, which those of one patient are not.

    Args:
        pairs: at least one.
        confidence: that an interval holds what it is about.

    Raises:
        LogError: there is no pair.
    """
    of = pairs.all_of
    if not of:
        raise LogError(
            f"no line of the primary's log ({pairs.primary_only} of them) has the request id or "
            f"the image of one of the target's ({pairs.target_only}): both need the same "
            f"x-request-id, which a gateway may set, or the same images"
        )
    falls = [target.confidence - primary.confidence for primary, target in of]
    return {
        "pairs": {
            "by_request": len(pairs.by_request),
            "by_image": len(pairs.by_image),
            "mismatched": pairs.mismatched,
            "primary_only": pairs.primary_only,
            "target_only": pairs.target_only,
        },
        "versions": {
            "primary": sorted({primary.version for primary, _ in of}),
            "target": sorted({target.version for _, target in of}),
        },
        "agreement": _share([one.label == other.label for one, other in of], confidence),
        "by_class": {
            label: _share([o.label == label for p, o in of if p.label == label], confidence)
            for label in sorted({one.label for one, _ in of})
        },
        "changed": [
            {"primary": one, "target": other, "images": images}
            for (one, other), images in Counter(
                (one.label, other.label) for one, other in of if one.label != other.label
            ).most_common()
        ],
        "confidence_change": _mean(falls, confidence),
        "largest_probability_change": max(_furthest(*pair) for pair in of),
        "abstention": {
            "both": sum(_abstained(one) and _abstained(other) for one, other in of),
            "primary_only": sum(_abstained(one) and not _abstained(other) for one, other in of),
            "target_only": sum(_abstained(other) and not _abstained(one) for one, other in of),
        },
    }


def add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command `compare`."""
    compare = commands.add_parser(
        "compare", help="how far two models agree on the same images, from their request logs"
    )
    for side in ("primary", "target"):
        compare.add_argument(
            f"--{side}", type=Path, nargs="+", required=True, help="its log, with rotated files"
        )
    compare.add_argument(
        "--at-least",
        type=float,
        metavar="SHARE",
        help=f"status {DISAGREE} unless the lower end of the agreement's interval is so much",
    )
    compare.add_argument("--confidence", type=float, default=0.95, help="of the intervals")
    compare.set_defaults(act=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    found = figures(paired(read(arguments.primary), read(arguments.target)), arguments.confidence)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    wanted = arguments.at_least
    return DISAGREE if wanted is not None and found["agreement"]["low"] < wanted else 0


def _share(hits: Sequence[bool], confidence: float) -> dict[str, float]:
    low, high = wilson(sum(hits), len(hits), confidence)
    return {
        "rate": round(sum(hits) / len(hits), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "images": len(hits),
    }


def _mean(values: Sequence[float], confidence: float) -> dict[str, float]:
    """Mean with the interval that its standard error gives; without one from a single value."""
    mean = fmean(values)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    interval = {"low": round(mean - half, 6), "high": round(mean + half, 6)}
    return {"mean": round(mean, 6), **(interval if math.isfinite(half) else {})}


def _furthest(one: Line, other: Line) -> float:
    """Of any class; a model with other classes is as far away as can be."""
    if len(one.probabilities) != len(other.probabilities):
        return 1.0
    pairs = zip(one.probabilities, other.probabilities, strict=True)
    return max(abs(p - q) for p, q in pairs)


def _abstained(line: Line) -> bool:
    return line.risk == _ABSTAINED
