"""Rows of the page Serving: what the pods can do, and how near they are to it."""

from scripts.dashboards.layout import Row
from scripts.dashboards.panels import Panel, Query
from scripts.dashboards.queries import BY_SERVICE, SERVICE, mean, of, quantile, rate, share

_INFERRED = 'stage="inferred"'
# With the analyst, target and primary have one each; KEDA names its own after the ScaledObject.
_HPA = 'namespace="$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$release(-primary)?"'
# A scrape that does not honour labels, as KEDA's own, moves the object's namespace aside.
_SCALED = 'exported_namespace=~"$namespace|",scaledObject=~"$release(-primary)?"'


def of_limit(used: str, limit: str) -> str:
    # A burst is over before the next scrape more often than not; what was seen of one stays.
    return f"max(max_over_time({of(used)}[$__rate_interval]) / {of(limit)})"


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
                    of_limit("sightline_admitted_images", "sightline_admitted_images_limit"),
                    "images",
                ),
                Query(of_limit("sightline_inflight", "sightline_inflight_limit"), "requests"),
                Query(
                    of_limit("sightline_upload_bytes", "sightline_upload_limit_bytes"),
                    "bytes of bodies",
                ),
                Query(
                    of_limit("sightline_connections", "sightline_connections_limit"),
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
                    f"kube_horizontalpodautoscaler_status_desired_replicas{{{_HPA}}}",
                    "wanted: {{horizontalpodautoscaler}}",
                ),
                Query(
                    f"kube_horizontalpodautoscaler_spec_max_replicas{{{_HPA}}}",
                    "most: {{horizontalpodautoscaler}}",
                ),
                Query(
                    f"kube_horizontalpodautoscaler_spec_min_replicas{{{_HPA}}}",
                    "fewest: {{horizontalpodautoscaler}}",
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
                    "is: {{horizontalpodautoscaler}}, {{metric_name}}",
                ),
                Query(
                    f"kube_horizontalpodautoscaler_spec_target_metric{{{_HPA}}}",
                    "should be: {{horizontalpodautoscaler}}, {{metric_name}}",
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
