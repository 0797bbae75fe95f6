"""Model: what it answers, how sure it is, and what exactly is served."""

from scripts.dashboards.layout import Dashboard, Row
from scripts.dashboards.panels import Column, Panel, Query
from scripts.dashboards.queries import (
    BY_SERVICE,
    NAMESPACE,
    RELEASE,
    RELEASES,
    SERVICE,
    of,
    quantile,
    rate,
    share,
)

_ABSTAINED = 'risk="Indeterminate"'
_SHARES = (
    "The mix follows the patients as well as the model: compare with the same hour of another day, "
    "and with the marks of releases."
)


def _share_of_images(metric: str, by: str, *matchers: str) -> str:
    """How much of the images each has, by its labels."""
    whole = f"sum({rate('sightline_predictions_total')})"
    return (
        f"sum by ({by}) ({rate(metric, *matchers)}) / ignoring ({by}) group_left () ({whole} > 0)"
    )


SERVED = Row(
    "What is served",
    (
        Panel(
            "Served",
            "short",
            "Versions, engines and artefacts, and the number of pods that serve each.",
            "More than one version without a canary: an alias has moved, or a rollout is under "
            "way. More than one engine: kinds of nodes differ; set settings.engine to have one.",
            (
                Query(
                    f"count by (name, version, engine, precision, device, digest) "
                    f"({of('sightline_model_info')})"
                ),
            ),
            kind="table",
            width=16,
            height=6,
            columns=(
                Column("name", "Model"),
                Column("version", "Version"),
                Column("engine", "Engine"),
                Column("precision", "Artefact"),
                Column("device", "Device"),
                Column("digest", "Digest of the bundle"),
                Column("Value", "Pods"),
            ),
        ),
        Panel(
            "Images answered",
            "suffix: images/s",
            "Images answered, by service.",
            "With few images every share below is a matter of chance.",
            (Query(f"sum by ({SERVICE}) ({rate('sightline_predictions_total')})", BY_SERVICE),),
            height=6,
        ),
    ),
)

ANSWERS = Row(
    "Answers",
    (
        Panel(
            "Classes",
            "percentunit",
            "Share of each class among the answers.",
            f"One class takes all: runbook 'Class collapse'. {_SHARES}",
            (Query(_share_of_images("sightline_predictions_total", "class"), "{{class}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Risks",
            "percentunit",
            "Share of each risk among the answers; Indeterminate is an abstention.",
            _SHARES,
            (Query(_share_of_images("sightline_predictions_total", "risk"), "{{risk}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Answers, by class",
            "suffix: images",
            "Images over the range of the page, by class.",
            "A class that never comes: is it among the patients? Then ask the reference set.",
            (
                Query(
                    f"sum by (class) (increase({of('sightline_predictions_total')}[$__range]))",
                    "{{class}}",
                ),
            ),
            decimals=0,
            kind="bargauge",
        ),
        Panel(
            "Abstentions",
            "percentunit",
            "Share of the answers that are Indeterminate, by service.",
            "Rising in all: another scanner or protocol? In one: its model. Runbook 'Abstentions'.",
            (
                Query(
                    share(
                        rate("sightline_predictions_total", _ABSTAINED),
                        rate("sightline_predictions_total"),
                        SERVICE,
                    ),
                    BY_SERVICE,
                ),
            ),
        ),
        Panel(
            "Explained",
            "percentunit",
            "Share of the answers with a map or an overlay.",
            "Falling to 0 with the same clients: do they still ask for them? A map costs little "
            "time, an overlay more.",
            (
                Query(
                    share(
                        rate("sightline_explanations_total"),
                        rate("sightline_predictions_total"),
                        SERVICE,
                    ),
                    BY_SERVICE,
                ),
            ),
        ),
    ),
)

CONFIDENCE = Row(
    "Confidence",
    (
        Panel(
            "Confidence",
            "percentunit",
            "Calibrated probability of the predicted class: what a tenth, a half and nine tenths "
            "of the answers are within.",
            "Lower than after the release: the images have changed, or the model; compare with a "
            "reference set (runbook 'Abstentions'). Higher is no better: calibration may be lost.",
            tuple(
                Query(quantile(q, "sightline_confidence"), name)
                for q, name in ((0.1, "a tenth"), (0.5, "half"), (0.9, "nine tenths"))
            ),
            width=12,
        ),
        Panel(
            "Answers, by their confidence",
            "percentunit",
            "The darker, the more answers had it.",
            "A band that moves at a release: another calibration.",
            (
                Query(
                    f"sum by (le) ({rate('sightline_confidence_bucket')})",
                    "{{le}}",
                ),
            ),
            kind="heatmap",
            width=12,
        ),
    ),
)

IMAGES = Row(
    "Images that cannot be read",
    (
        Panel(
            "Unreadable, of all requests",
            "percentunit",
            "Requests refused for an image, of all requests.",
            "Runbook 'Images unreadable'.",
            (
                Query(
                    share(
                        rate("sightline_image_errors_total"),
                        rate("sightline_requests_total"),
                        SERVICE,
                    ),
                    BY_SERVICE,
                ),
            ),
            whole=False,
            width=12,
        ),
        Panel(
            "Unreadable, by reason",
            "reqps",
            "What is wrong with them.",
            "corrupt: transport or export. unsupported: a kind of DICOM that is not read, see "
            "docs/dicom.md. too_large: max_pixels.",
            (Query(f"sum by (reason) ({rate('sightline_image_errors_total')})", "{{reason}}"),),
            stacked=True,
            width=12,
        ),
    ),
)

START = Row(
    "At start",
    (
        Panel(
            "Self-test",
            "short",
            "What reproduced the reference answers at start, in each pod.",
            "Refused is served by another one. All of an artefact refused: runbook 'Self-test'.",
            (Query(of("sightline_selftest_passed")),),
            kind="table",
            width=12,
            columns=(
                Column("pod", "Pod"),
                Column("engine", "Engine"),
                Column("precision", "Artefact"),
                Column("device", "Device"),
                Column("Value", "Result", words={1: "reproduced", 0: "refused"}),
            ),
        ),
        Panel(
            "Furthest from the reference answers",
            "sci",
            "Largest difference at start, of the probabilities and of the maps, over all pods.",
            "What the bundle's manifest tolerates is in `tolerance`. More than after training: "
            "another machine or runtime.",
            (
                Query(
                    f"max by (engine, precision, output) ({of('sightline_selftest_difference')})",
                    "{{engine}} {{precision}}: {{output}}",
                ),
            ),
            kind="bargauge",
            width=6,
        ),
        Panel(
            "Last self-test",
            "s",
            "Time since the engine of a pod passed its test.",
            "Short and again and again: pods are being started anew; look at their last logs.",
            (Query(f"time() - {of('sightline_selftest_timestamp_seconds')}", "{{pod}}"),),
            kind="bargauge",
            width=6,
        ),
        Panel(
            "Speed measured at start",
            "suffix: images/s",
            "By batch size, the slowest pod of each kind.",
            "Pods of one kind that differ: a busy node while it was measured. The choice is kept "
            "in engineCache; remove it to measure again.",
            (
                Query(
                    "min by (engine, precision, batch) "
                    f"({of('sightline_engine_images_per_second')})",
                    "{{engine}} {{precision}}, {{batch}} at once",
                ),
            ),
            kind="bargauge",
            width=24,
        ),
    ),
)

MODEL = Dashboard(
    "model",
    "Model",
    "What the model answers, how sure it is, and what exactly is served.",
    (NAMESPACE, RELEASE),
    (RELEASES,),
    (SERVED, ANSWERS, CONFIDENCE, IMAGES, START),
)
