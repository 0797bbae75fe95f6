"""Rollout: the new model beside the old one, and what the analyst makes of it."""

from scripts.dashboards.layout import Dashboard, Row
from scripts.dashboards.panels import Column, Panel, Query
from scripts.dashboards.queries import (
    BY_SIDE,
    FAILED,
    NAMESPACE,
    RELEASE,
    RELEASES,
    SIDES,
    VALID,
    mean,
    of,
    quantile,
    rate,
    share,
)

_TOTAL = 'stage="total"'
_FIGURES = {
    "primary": "In production",
    "target": "New",
    "effect": "Effect",
    "margin": "Margin",
    "evidence": "Evidence",
    "sample": "Sample",
}
_WITHDRAW = "Only the new one: the analyst withdraws it when it is sure; at once by hand: runbook "


def _figure(name: str) -> str:
    return of("sightline_rollout_figure", f'figure="{name}"', 'comparison!=""')


NOW = Row(
    "Now",
    (
        Panel(
            "Share of the new model",
            "percent",
            "Share of the requests that the analyst has given the new model.",
            "Not moving for long: 'Phase' says what it waits for; runbook 'Rollout stuck'.",
            (Query(f"max({of('sightline_rollout_weight_percent')})"),),
            kind="stat",
            width=4,
            height=5,
        ),
        Panel(
            "Step",
            "short",
            "Number of the step, counted from 0, a dark launch.",
            "Back at 0 in the middle: another helm upgrade has begun a new rollout.",
            (Query(f"max({of('sightline_rollout_step')})"),),
            kind="stat",
            width=4,
            height=5,
        ),
        Panel(
            "Since the last look",
            "s",
            "Time since the analyst compared the two.",
            "Much more than its interval: is its pod running, and does Prometheus answer it?",
            (Query(f"time() - max({of('sightline_rollout_last_look_timestamp_seconds')})"),),
            kind="stat",
            width=4,
            height=5,
            steps=((None, "green"), (300, "orange"), (900, "red")),
        ),
        Panel(
            "Phase",
            "short",
            "Where the rollout is. idle: there is none. waiting: for the new model's pods. held: a "
            "step is overdue. first: there is no model in production yet.",
            "held, waiting, paused or promoting for long: runbook 'Rollout stuck'. rolled back: "
            "runbook 'Rolled back'.",
            (Query(f"max by (phase) ({of('sightline_rollout_phase')}) == 1", "{{phase}}"),),
            kind="stat",
            named=True,
            width=6,
            height=5,
        ),
        Panel(
            "Verdicts",
            "short",
            "Verdicts over the range of the page.",
            "Only holds: too few requests, or Prometheus is away. Events of the InferenceService "
            "have the reason and the numbers of each.",
            (
                Query(
                    "sum by (verdict) "
                    f"(increase({of('sightline_rollout_verdicts_total')}[$__range]))",
                    "{{verdict}}",
                ),
            ),
            decimals=0,
            kind="bargauge",
            width=6,
            height=5,
        ),
    ),
)

BESIDE = Row(
    "Side by side",
    (
        Panel(
            "Requests",
            "reqps",
            "Requests of each service, mirrored and synthetic ones included.",
            "The new one gets none at a share above 0: the gateway ignores the weights, or clients "
            "ask the other's Service directly.",
            (Query(f"sum by ({SIDES}) ({rate('sightline_requests_total')})", BY_SIDE),),
        ),
        Panel(
            "Not answered, of valid",
            "percentunit",
            "5xx and 429 among valid requests, of each service.",
            f"{_WITHDRAW}'Rolled back'.",
            (
                Query(
                    share(
                        rate("sightline_requests_total", FAILED),
                        rate("sightline_requests_total", VALID),
                        SIDES,
                    ),
                    BY_SIDE,
                ),
            ),
            whole=False,
        ),
        Panel(
            "Pods ready",
            "short",
            "Ready pods of each service.",
            "None of the new one: it is never judged, and given up in the end; runbook 'Pods not "
            "starting'.",
            (Query(f"sum by ({SIDES}) ({of('sightline_ready')})", BY_SIDE),),
        ),
        Panel(
            "Median of the time",
            "s",
            "Half of the answers take less, of each service.",
            "Slower by a fixed factor: another network or engine; see Model, 'Served'.",
            (Query(quantile(0.5, "sightline_stage_seconds", SIDES, _TOTAL), BY_SIDE),),
        ),
        Panel(
            "Slowest hundredth",
            "s",
            "99 of 100 answers take less, of each service.",
            "Slower with the same median: too few pods for its share.",
            (Query(quantile(0.99, "sightline_stage_seconds", SIDES, _TOTAL), BY_SIDE),),
        ),
        Panel(
            "Unreadable, of all requests",
            "percentunit",
            "Requests refused for an image, of each service.",
            "Both see the same images, so a difference is one of the decode rule or of the limits.",
            (
                Query(
                    share(
                        rate("sightline_image_errors_total"),
                        rate("sightline_requests_total"),
                        SIDES,
                    ),
                    BY_SIDE,
                ),
            ),
            whole=False,
        ),
        Panel(
            "Abstentions",
            "percentunit",
            "Share of the answers that are Indeterminate, of each service.",
            "The new one abstains more: a difference that its report should have shown; compare "
            "on the reference set.",
            (
                Query(
                    share(
                        rate("sightline_predictions_total", 'risk="Indeterminate"'),
                        rate("sightline_predictions_total"),
                        SIDES,
                    ),
                    BY_SIDE,
                ),
            ),
        ),
        Panel(
            "Mean confidence",
            "percentunit",
            "Calibrated probability of the predicted class, of each service.",
            "A difference is meant after a training with other data; look at the reliability in "
            "both reports.",
            (Query(mean("sightline_confidence", SIDES), BY_SIDE),),
        ),
        Panel(
            "Classes",
            "percentunit",
            "Share of each class among the answers of each service.",
            "A class that only one of them has: runbook 'Class collapse'.",
            (
                Query(
                    f"sum by ({SIDES}, class) ({rate('sightline_predictions_total')})"
                    " / on ("
                    f"{SIDES}) group_left () "
                    f"(sum by ({SIDES}) ({rate('sightline_predictions_total')}) > 0)",
                    f"{{{{class}}}}, {BY_SIDE}",
                ),
            ),
        ),
    ),
)

JUDGED = Row(
    "As the analyst sees it",
    (
        Panel(
            "Share of the new model, over time",
            "percent",
            "Share of the requests that the analyst has given the new model.",
            "It goes down only by a rollback or an abort; the Event says why.",
            (Query(f"max({of('sightline_rollout_weight_percent')})", "share"),),
            width=8,
        ),
        Panel(
            "Evidence against the new model",
            "short",
            "Of each comparison: 1 is an alarm, which rolls back.",
            "Near 1 and rising: look at that comparison side by side, and abort if you agree.",
            (
                Query(
                    f"max by (comparison) ({_figure('evidence')})",
                    "{{comparison}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Looks that failed",
            "suffix:/s",
            "metrics: Prometheus did not answer. look: the API did not. conflict: somebody else "
            "had written.",
            "metrics or look for minutes: nothing is decided; runbook 'Analyst silent'.",
            (
                Query(
                    f"sum by (what) ({rate('sightline_rollout_failures_total')})",
                    "{{what}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Comparisons at the last look",
            "short",
            "Both sides as measured: shares of 1, seconds, mean confidence. The effect is held "
            "against the margin; the sample is what was compared.",
            "An effect over its margin with little evidence may be chance: it goes on looking.",
            tuple(Query(f"max by (comparison) ({_figure(name)})") for name in _FIGURES),
            kind="table",
            width=24,
            columns=(
                Column("comparison", "Comparison"),
                *(
                    Column(f"Value #{letter}", title)
                    for letter, title in zip("ABCDEF", _FIGURES.values(), strict=True)
                ),
            ),
        ),
    ),
)

ROLLOUT = Dashboard(
    "rollout",
    "Rollout",
    "A new model beside the one in production, and the analyst's verdicts.",
    (NAMESPACE, RELEASE),
    (RELEASES,),
    (NOW, BESIDE, JUDGED),
)
