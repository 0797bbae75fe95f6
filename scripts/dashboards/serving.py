"""Serving: is it answered, how fast, and what stands in the way."""

from scripts.dashboards.capacity import ENGINE, SATURATION, SCALING, of_limit
from scripts.dashboards.layout import Dashboard, Row
from scripts.dashboards.panels import Panel, Query
from scripts.dashboards.queries import (
    BY_SERVICE,
    FAILED,
    NAMESPACE,
    OBJECTIVE,
    RELEASE,
    RELEASES,
    SERVICE,
    VALID,
    mean,
    of,
    quantile,
    rate,
    share,
)

_TOTAL = 'stage="total"'


def _ranged(metric: str, *matchers: str) -> str:
    return f"increase({of(metric, *matchers)}[$__range])"


NOW = Row(
    "Now",
    (
        Panel(
            "Requests",
            "reqps",
            "Requests of every kind and outcome.",
            "Nothing for minutes while clients ask: look at the gateway and its route first.",
            (Query(f"sum({rate('sightline_requests_total')})"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Answered",
            "percentunit",
            "Valid requests that were answered, over the range of the page. Not valid is what the "
            "client did wrong (4xx but 429).",
            "Under the objective: 'Not answered' tells since when and where, 'Refused' why.",
            (
                Query(
                    "1 - "
                    + share(
                        _ranged("sightline_requests_total", FAILED),
                        _ranged("sightline_requests_total", VALID),
                    )
                ),
            ),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "red"), (0.99, "orange"), (0.995, "green")),
        ),
        Panel(
            "Within 0.5 s",
            "percentunit",
            "Answers that took half a second or less, over the range of the page.",
            "Falling: 'Time of an answer, by stage' says which stage has become slower.",
            (
                Query(
                    share(
                        _ranged("sightline_stage_seconds_bucket", _TOTAL, 'le="0.5"'),
                        _ranged("sightline_stage_seconds_count", _TOTAL),
                    )
                ),
            ),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "red"), (0.95, "orange"), (0.99, "green")),
        ),
        Panel(
            "Slowest hundredth",
            "s",
            "99 of 100 answers take less.",
            "Rising with the queue: more pods. Rising without it: larger images, or a busy node.",
            (Query(quantile(0.99, "sightline_stage_seconds", "", _TOTAL)),),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "green"), (0.5, "orange"), (2, "red")),
        ),
        Panel(
            "House full",
            "percentunit",
            "Images waiting and being worked on, of max_queue, in the fullest pod.",
            "From 1 on clients see 429: runbook 'Queue saturated'.",
            (Query(of_limit("sightline_admitted_images", "sightline_admitted_images_limit")),),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "green"), (0.5, "orange"), (0.8, "red")),
        ),
        Panel(
            "Pods ready",
            "short",
            "Pods that say they are ready, of all services of the release.",
            "Less than wanted: runbook 'Pods not starting'. None: 'No champion'.",
            (Query(f"sum({of('sightline_ready')})"),),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "red"), (1, "green")),
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests, by protocol",
            "reqps",
            "What is asked, by protocol and verb.",
            "A step tells of a new client, or of one that asks again after failures.",
            (
                Query(
                    f"sum by (protocol, verb) ({rate('sightline_requests_total')})",
                    "{{protocol}} {{verb}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Requests, by status",
            "reqps",
            "HTTP statuses; a gRPC code counts as its counterpart. 499: the client hung up.",
            "5xx and 429 are ours, the rest of 4xx the clients'. 499 with slow answers: clients "
            "are more impatient than we are fast.",
            (Query(f"sum by (status) ({rate('sightline_requests_total')})", "{{status}}"),),
            stacked=True,
        ),
        Panel(
            "Refused, by reason",
            "reqps",
            "Why requests were not answered, unreadable images included.",
            "queue_full, too_many_requests and uploads_full: more pods. deadline: slower than "
            "clients wait. engine, internal: the log has the request ids. The others: the client.",
            (
                Query(f"sum by (reason) ({rate('sightline_rejections_total')})", "{{reason}}"),
                Query(
                    f"sum by (reason) ({rate('sightline_image_errors_total')})",
                    "image: {{reason}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Not answered, of valid",
            "percentunit",
            "5xx and 429 among valid requests, by service.",
            "One service only: it is its model or image; withdraw a canary. All: node, storage or "
            "load.",
            (
                Query(
                    share(
                        rate("sightline_requests_total", FAILED),
                        rate("sightline_requests_total", VALID),
                        SERVICE,
                    ),
                    BY_SERVICE,
                ),
            ),
            whole=False,
        ),
        Panel(
            "Error budget, times too fast",
            "suffix:×",
            "How many times faster than the objective allows the budget of errors is used up. At 1 "
            "it lasts for exactly 30 days, at 14.4 two days' worth is gone in an hour and a bit.",
            "Both lines over 14.4 or 6: runbook 'Availability'.",
            tuple(
                Query(
                    share(
                        f"rate({of('sightline_requests_total', FAILED)}[{window}])",
                        f"rate({of('sightline_requests_total', VALID)}[{window}])",
                    )
                    + " / (1 - $objective)",
                    window,
                )
                for window in ("5m", "1h", "6h")
            ),
        ),
        Panel(
            "Connections closed by us",
            "suffix:/s",
            "For what a client did not do (head_timeout, answer_timeout), for their number "
            "(limit), or because it had gone.",
            "limit: raise max_connections or let a gateway keep fewer open. The others: clients or "
            "a gateway with short time limits.",
            (
                Query(
                    f"sum by (reason) ({rate('sightline_connections_closed_total')})",
                    "{{reason}}",
                ),
            ),
        ),
    ),
)

LATENCY = Row(
    "Latency of answered requests",
    (
        Panel(
            "Time of an answer",
            "s",
            "From the request's head to its answer: the median, and what 90 and 99 of 100 are "
            "within.",
            "Median and 99 apart: queueing or large images. Both up: engine or node.",
            tuple(
                Query(quantile(q, "sightline_stage_seconds", "", _TOTAL), name)
                for q, name in ((0.5, "median"), (0.9, "90 of 100"), (0.99, "99 of 100"))
            ),
        ),
        Panel(
            "Time of an answer, by stage",
            "s",
            "Mean of each stage: decode, queue (the wait for the engine), infer, encode.",
            "queue: more pods. decode: large images, or too few CPUs. infer: another engine than "
            "before? See Model. encode: many overlays.",
            (
                Query(
                    mean("sightline_stage_seconds", "stage", 'stage!="total"'),
                    "{{stage}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Slowest hundredth, by stage",
            "s",
            "What 99 of 100 are within, of each stage. They do not add up.",
            "The stage that stands out is where to look.",
            (
                Query(
                    quantile(0.99, "sightline_stage_seconds", "stage", 'stage!="total"'),
                    "{{stage}}",
                ),
            ),
        ),
        Panel(
            "Answers, by their time",
            "s",
            "The darker, the more answers took so long.",
            "Two bands: two kinds of requests (explained or not, small or large), or two kinds of "
            "nodes.",
            (
                Query(
                    f"sum by (le) ({rate('sightline_stage_seconds_bucket', _TOTAL)})",
                    "{{le}}",
                ),
            ),
            kind="heatmap",
            width=24,
        ),
    ),
)

SERVING = Dashboard(
    "serving",
    "Serving",
    "Requests, errors, latency, queue and pods of a release.",
    (NAMESPACE, RELEASE, OBJECTIVE),
    (RELEASES,),
    (NOW, REQUESTS, LATENCY, ENGINE, SATURATION, SCALING),
)
