"""Serving: is it answered, how fast, and what stands in the way."""

from scripts.dashboards.panels import Dashboard, Panel, Query, Row
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
_INFERRED = 'stage="inferred"'
_HPA = 'namespace="$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$release"'
# A scrape that does not honour labels, as KEDA's own, moves the object's namespace aside.
_SCALED = 'exported_namespace=~"$namespace|",scaledObject="$release"'


def _ranged(metric: str, *matchers: str) -> str:
    return f"increase({of(metric, *matchers)}[$__range])"


def _of_limit(used: str, limit: str) -> str:
    # A burst is over before the next scrape more often than not; what was seen of one stays.
    return f"max(max_over_time({of(used)}[$__rate_interval]) / {of(limit)})"


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
            (Query(_of_limit("sightline_admitted_images", "sightline_admitted_images_limit")),),
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

ENGINE = Row(
    "Queue and engine",
    (
        Panel(
            "Waiting for the engine",
            "suffix: images",
            "Decoded images in the queue, in each pod.",
            "Always some: the engine is the limit; more pods, or a larger max_batch_size on a GPU.",
            (Query(of("sightline_queue_depth"), "{{pod}}"),),
        ),
        Panel(
            "Batches",
            "suffix: images",
            "Images given to the engine at once: mean, and what 99 of 100 batches are within.",
            "Always max_batch_size: saturated. Always 1: nothing waits, which is good.",
            (
                Query(mean("sightline_batch_size"), "mean"),
                Query(quantile(0.99, "sightline_batch_size"), "99 of 100"),
            ),
        ),
        Panel(
            "Images, and what the engine can do",
            "suffix: images/s",
            "Images computed, and the speed that was measured at start, of all pods together.",
            "Near the measured speed: more pods. Far from it and slow: the CPUs are shared, or "
            "decoding is the limit.",
            (
                Query(f"sum({rate('sightline_images_total', _INFERRED)})", "computed"),
                Query(
                    f"sum(max by (pod) ({of('sightline_engine_images_per_second')}"
                    " * on (pod, engine, precision, device) group_left ()"
                    f" {of('sightline_model_info')}))",
                    "measured at start",
                ),
            ),
        ),
        Panel(
            "Images, by stage",
            "suffix: images/s",
            "Images that came to each stage.",
            "admitted over answered for long: work is given up; see 'Refused' for deadline and "
            "client_gone.",
            (Query(f"sum by (stage) ({rate('sightline_images_total')})", "{{stage}}"),),
        ),
        Panel(
            "Kept answers",
            "percentunit",
            "Images whose answer was kept, of those looked for (settings.answer_cache_bytes).",
            "Nothing comes twice: turn it off, and the memory is free.",
            (
                Query(
                    share(
                        rate("sightline_answer_cache_lookups_total", 'result="hit"'),
                        rate("sightline_answer_cache_lookups_total"),
                    ),
                    "hits",
                ),
            ),
        ),
        Panel(
            "Request log, lines lost",
            "suffix:/s",
            "Lines that the request log could not take or write.",
            "Any: its volume is full or slow. No request waits for it, but what is lost is lost.",
            (
                Query(
                    f"sum by (pod) ({rate('sightline_request_log_dropped_total')})",
                    "{{pod}}",
                ),
            ),
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Of their limits",
            "percentunit",
            "How much of each limit the fullest pod has used.",
            "The one at 1 is what clients see 429 for: raise it if memory allows, or add pods.",
            (
                Query(
                    _of_limit("sightline_admitted_images", "sightline_admitted_images_limit"),
                    "images",
                ),
                Query(_of_limit("sightline_inflight", "sightline_inflight_limit"), "requests"),
                Query(
                    _of_limit("sightline_upload_bytes", "sightline_upload_limit_bytes"),
                    "bytes of bodies",
                ),
                Query(
                    _of_limit("sightline_connections", "sightline_connections_limit"),
                    "connections",
                ),
            ),
        ),
        Panel(
            "CPU",
            "suffix: CPUs",
            "CPUs used by each pod.",
            "At the container's limit for long: more pods, or more CPUs each.",
            (Query(rate("process_cpu_seconds_total"), "{{pod}}"),),
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident memory of each pod.",
            "Near the limit: lower max_upload_bytes, max_pixels or decode_threads; "
            "docs/operations.md has the sum.",
            (Query(of("process_resident_memory_bytes"), "{{pod}}"),),
        ),
    ),
)

SCALING = Row(
    "Autoscaler",
    (
        Panel(
            "Pods wanted and there",
            "short",
            "What the autoscaler wants, between its bounds, and the pods that are ready.",
            "wanted at most for long: raise autoscaling.maxReplicas. Wanted and not ready: runbook "
            "'Pods not starting'.",
            (
                Query(
                    f"max(kube_horizontalpodautoscaler_status_desired_replicas{{{_HPA}}})",
                    "wanted",
                ),
                Query(
                    f"max(kube_horizontalpodautoscaler_spec_max_replicas{{{_HPA}}})",
                    "most",
                ),
                Query(
                    f"max(kube_horizontalpodautoscaler_spec_min_replicas{{{_HPA}}})",
                    "fewest",
                ),
                Query(
                    f"sum by ({SERVICE}) ({of('sightline_ready')})",
                    f"ready: {BY_SERVICE}",
                ),
            ),
        ),
        Panel(
            "What it scales on, of its target",
            "short",
            "The autoscaler's metric and what it should be, in the metric's own unit (CPU: per "
            "cent of the request).",
            "Over the target with all pods in use: runbook 'Queue saturated'.",
            (
                Query(
                    f"kube_horizontalpodautoscaler_status_target_metric{{{_HPA}}}",
                    "is: {{metric_name}}",
                ),
                Query(
                    f"kube_horizontalpodautoscaler_spec_target_metric{{{_HPA}}}",
                    "should be: {{metric_name}}",
                ),
            ),
        ),
        Panel(
            "KEDA's failures",
            "suffix:/s",
            "Queries to Prometheus that failed for KEDA (autoscaling.type=keda).",
            "Any for minutes: the pods stay at fallbackReplicas; look at Prometheus and at "
            "autoscaling.keda.serverAddress.",
            (
                Query(
                    "sum by (scaler) (rate(keda_scaler_detail_errors_total"
                    f"{{{_SCALED}}}[$__rate_interval]))",
                    "{{scaler}}",
                ),
            ),
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
