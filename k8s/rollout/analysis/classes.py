"""The mix of predicted classes: how far it moved, and whether a class was lost."""

import math
from collections import Counter
from collections.abc import Mapping

from k8s.rollout.analysis import rates
from k8s.rollout.analysis.comparison import Comparison, Demand, concluded
from k8s.rollout.analysis.rates import CHANGES, OF_IMAGES, RateEvidence, Share, log_mean_exp
from k8s.rollout.analysis.window import Window
from k8s.rollout.policy import Classes

# The state has to fit into an annotation.
MOST = 24
_OTHERS = "other classes"


def observe(evidence: Mapping[str, RateEvidence], window: Window) -> dict[str, RateEvidence]:
    """Of each class, with one more window.

    The most frequent classes of the first window are told apart from then on, because the mean of
    e-values is one only if it is decided beforehand of which. They are so on both sides together,
    which says nothing about the sides. The rest count as one class.
    """
    primary, target = window.primary, window.target
    if not primary.images or not target.images:
        return dict(evidence)
    total = Counter(primary.classes)
    total.update(target.classes)
    often = sorted(total, key=lambda key: (-total[key], key))
    counts = {key: [0.0, 0.0] for key in evidence or (*often[:MOST], _OTHERS)}
    for key in often:
        both = counts[key if key in counts else _OTHERS]
        both[0] += primary.classes.get(key, 0)
        both[1] += target.classes.get(key, 0)
    return {
        key: rates.observe(
            evidence.get(key, OF_IMAGES),
            CHANGES,
            Share(on_primary, primary.images),
            Share(on_target, target.images),
        )
        for key, (on_primary, on_target) in counts.items()
    }


def compare(evidence: Mapping[str, RateEvidence], policy: Classes, demand: Demand) -> Comparison:
    """Of the mix.

    Its evidence is the mean of the classes' e-values, which is one, however they hang together.
    The effect is half the sum of the differences in share; a lost class counts as 1.
    """
    if not evidence:
        return concluded(
            demand,
            primary=0.0,
            target=0.0,
            effect=0.0,
            margin=policy.margin,
            log_evidence=0.0,
            sample=0.0,
            needed=math.inf,
        )
    lost = {key: one for key, one in evidence.items() if _lost(one, policy)}
    key = max(lost or evidence, key=lambda key: abs(evidence[key].mean_rise))
    most = evidence[key]
    return concluded(
        demand,
        primary=most.mean_base,
        target=most.mean_base + most.mean_rise,
        effect=1.0 if lost else sum(abs(one.mean_rise) for one in evidence.values()) / 2,
        margin=policy.margin,
        log_evidence=log_mean_exp([one.log_evidence for one in evidence.values()]),
        sample=most.target_of,
        needed=_needed(evidence, policy, demand.power),
        about=key,
    )


def _lost(one: RateEvidence, policy: Classes) -> bool:
    target = one.mean_base + one.mean_rise
    return one.mean_base >= policy.smallest_share and target <= policy.collapsed_ratio * (
        one.mean_base
    )


def _needed(evidence: Mapping[str, RateEvidence], policy: Classes, power: float) -> float:
    """Images of the target that show the loss of any class that is looked for."""
    return max(
        (
            rates.needed(
                one,
                one.mean_base * (policy.collapsed_ratio - 1),
                one.mean_base * (policy.lost_ratio - 1),
                power,
            )
            for one in evidence.values()
            if one.mean_base >= policy.smallest_share
        ),
        default=0.0,
    )
