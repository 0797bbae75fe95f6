"""What a reader of the report must know before the figures."""

from train.findings import Evaluation

_FEW_PER_CLASS = 20


def cautions(evaluation: Evaluation) -> list[str]:
    """What is wrong or weak about this model or its evaluation, the gravest first."""
    assessment, data = evaluation.assessment, evaluation.data
    macro, told = assessment.overall.macro_f1, [*assessment.warnings]
    least = macro.low if macro.low is not None else macro.value
    if least is not None and least <= evaluation.intensity_baseline_macro_f1:
        told.append(
            "A logistic regression on brightness alone reaches a macro-F1 of "
            f"{evaluation.intensity_baseline_macro_f1:.3f}, within or above this model's interval: "
            "it may have learnt how images were made, not what they show."
        )
    told += [
        f"{data.leakage[kind]} {kind.replace('_', ' ')} between the parts were found and allowed: "
        "the figures may be too good."
        for kind in data.allowed
        if data.leakage.get(kind)
    ]
    few = [each.name for each in assessment.classes if 0 < each.support < _FEW_PER_CLASS]
    if few:
        told.append(f"Fewer than {_FEW_PER_CLASS} test images: {', '.join(few)}.")
    told += [
        f"{each.column} {each.value}: {text}."
        for each in assessment.slices
        for text in each.warnings
    ]
    if data.skipped:
        told.append(f"{data.skipped} image files were unreadable and are left out.")
    if evaluation.training.provenance.git_dirty:
        told.append("Trained with code that was not committed: its commit does not tell all of it.")
    return told


def standing_limits(evaluation: Evaluation) -> list[str]:
    """What holds for every classifier of this kind."""
    test = evaluation.data.parts["test"]
    return [
        (
            f"The figures come from {test.images} images of {test.patients} patients out of the "
            "same source as the training images. They do not tell how the model does on images "
            "from elsewhere: other devices, other hospitals, other patients."
        ),
        (
            f"It knows {len(evaluation.classes)} classes and gives every image one of them, also "
            "an image of something else."
        ),
        (
            "A map shows where the network found evidence for a class. It does not show that the "
            "evidence is sound."
        ),
    ]
