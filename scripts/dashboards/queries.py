"""Parts that queries of several dashboards are made of."""

from scripts.dashboards.panels import JSON, SOURCE

# Tells stable, canary and primary apart: podmonitor.yaml takes it from KServe's label of the pods.
SERVICE = "serving_kserve_io_inferenceservice"
BY_SERVICE = f"{{{{{SERVICE}}}}}"
# In Knative mode both are revisions of one service.
SIDES = f"{SERVICE}, serving_knative_dev_revision"
BY_SIDE = f"{BY_SERVICE} {{{{serving_knative_dev_revision}}}}"
# A client's own mistake says nothing of the service; 429 is ours.
FAILED = 'status=~"5..|429"'
VALID = 'status=~"2..|5..|429"'


def of(metric: str, *matchers: str) -> str:
    """A metric of the chosen release."""
    chosen = ('namespace="$namespace"', 'release="$release"', *matchers)
    return f"{metric}{{{','.join(chosen)}}}"


def rate(metric: str, *matchers: str) -> str:
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def share(part: str, whole: str, by: str = "") -> str:
    """How much of a whole, both rates; 0 where no part was counted, nothing without a whole."""
    grouped = f"sum by ({by}) " if by else "sum"
    of_all = f"{grouped}({whole})"
    return f"({grouped}({part}) or 0 * {of_all}) / ({of_all} > 0)"


def quantile(q: float, histogram: str, by: str = "", *matchers: str) -> str:
    labels = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({q}, sum by ({labels}) ({rate(histogram + '_bucket', *matchers)}))"


def mean(histogram: str, by: str = "", *matchers: str) -> str:
    grouped = f"sum by ({by}) " if by else "sum"
    total, count = (rate(f"{histogram}_{part}", *matchers) for part in ("sum", "count"))
    return f"{grouped}({total}) / ({grouped}({count}) > 0)"


def _variable(name: str, label: str, query: str, **more: object) -> JSON:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        **more,
    }


NAMESPACE = _variable("namespace", "Namespace", "label_values(sightline_ready, namespace)")
RELEASE = _variable(
    "release", "Release", 'label_values(sightline_ready{namespace="$namespace"}, release)'
)
# Of the Jobs in k8s/training and of the chart's.
JOBS = "(.+-)?(train|training|retrain|tune|release)(-.+)?"
TRAINING_NAMESPACE = _variable("namespace", "Namespace", "label_values(kube_job_info, namespace)")
JOB = _variable(
    "job",
    "Job",
    f'label_values(kube_job_info{{namespace="$namespace",job_name=~"{JOBS}"}}, job_name)',
    multi=True,
    includeAll=True,
    allValue=JOBS,
    current={"text": "All", "value": "$__all"},
)
OBJECTIVE: JSON = {
    "name": "objective",
    "label": "Objective",
    "description": "Of availability; as in the chart's prometheusRule.slo.availability.objective",
    "type": "custom",
    "query": "0.99,0.995,0.999",
    "current": {"text": "0.995", "value": "0.995"},
}

_SERVED = f"count by (version) ({of('sightline_model_info')})"
# A version that no pod had five minutes before. Grafana joins what is next to each other.
RELEASES: JSON = {
    "name": "Releases",
    "datasource": SOURCE,
    "enable": True,
    "expr": f"{_SERVED} unless count by (version) ({of('sightline_model_info')} offset 5m)",
    "step": "60s",
    "titleFormat": "Version {{version}}",
    "textFormat": "The first pod with it has come up",
    "iconColor": "purple",
}
