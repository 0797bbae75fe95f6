"""The deployment gate: a new model ships only if it is no worse than the one in production."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from model.bundle import Bundle
from model.manifest import GRAPH_ONNX
from train.data import Dataset
from train.export import onnx_answers
from train.metrics import macro_f1
from train.run import Run


class Verdict(BaseModel):
    """The gate's decision and what it rests on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    promoted: bool
    reason: str
    macro_f1: float
    champion_version: str | None
    champion_macro_f1: float | None

    @property
    def word(self) -> str:
        return "promoted" if self.promoted else "refused"


def decide_without_champion(macro_f1: float, least: float) -> Verdict:
    """The first model must reach a fixed macro-F1."""
    promoted = macro_f1 >= least
    return Verdict(
        promoted=promoted,
        reason=f"no champion yet; macro-F1 {macro_f1:.4f} is "
        f"{'at least' if promoted else 'less than'} the {least:.2f} asked of a first model",
        macro_f1=macro_f1,
        champion_version=None,
        champion_macro_f1=None,
    )


def decide_against_champion(
    macro_f1: float, champion: float, version: str, *, same_split: bool = True
) -> Verdict:
    """A later model must not be worse on the same test images.

    Args:
        macro_f1: of the new model.
        champion: macro-F1 of the model in production.
        version: of the model in production.
        same_split: whether the champion was trained with these test images set aside.
    """
    promoted = macro_f1 >= champion
    seen = "" if same_split else ", of which the champion may have seen some in its training"
    return Verdict(
        promoted=promoted,
        reason=f"macro-F1 {macro_f1:.4f} is {'not lower' if promoted else 'lower'} than "
        f"{champion:.4f} of champion version {version} on the same test split{seen}",
        macro_f1=macro_f1,
        champion_version=version,
        champion_macro_f1=champion,
    )


def refuse_other_classes(
    macro_f1: float, mine: list[str], theirs: list[str], version: str
) -> Verdict:
    """Models of different classes cannot be compared."""
    return Verdict(
        promoted=False,
        reason=f"champion version {version} has the classes {', '.join(theirs)}, "
        f"this model {', '.join(mine)}: they cannot be compared; "
        "release under another name, or move the alias by hand",
        macro_f1=macro_f1,
        champion_version=version,
        champion_macro_f1=None,
    )


def judge(run: Run, candidate: Bundle, champion: Bundle | None, version: str | None) -> Verdict:
    """Compare two bundles, both run now, on the run's test split.

    Args:
        run: whose test split is used.
        candidate: the new bundle.
        champion: the bundle in production, None where there is none.
        version: the champion's version.
    """
    data = run.data
    mine = score(run, data, candidate)
    if champion is None or version is None:
        return decide_without_champion(mine, run.config.release.min_macro_f1)
    keys, theirs = candidate.manifest.class_keys, champion.manifest.class_keys
    if sorted(keys) != sorted(theirs):
        return refuse_other_classes(mine, keys, theirs, version)
    splits = {each.manifest.provenance.split_sha256 for each in (candidate, champion)}
    return decide_against_champion(
        mine, score(run, data, champion), version, same_split=len(splits) == 1
    )


def score(run: Run, data: Dataset, bundle: Bundle) -> float:
    """Macro-F1 of a bundle's FP32 graph on the run's test split, decoded by the bundle's rule."""
    test = run.indices("test")
    images = run.images_for(bundle.manifest.decode)[test]
    answers = onnx_answers(bundle.path / GRAPH_ONNX, images)
    keys = [info.key for info in data.classes]
    to_mine = np.array([keys.index(key) for key in bundle.manifest.class_keys])
    predicted = to_mine[answers.probabilities.argmax(axis=1)]
    return macro_f1(data.labels[test], predicted, len(keys))
