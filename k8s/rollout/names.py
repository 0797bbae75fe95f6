"""What the objects of a release are called."""

from dataclasses import dataclass

# On objects of ours only: KServe copies an InferenceService's annotations to its pods.
VERDICT = "sightline/verdict"
REASON = "sightline/reason"
FIGURES = "sightline/figures"
WEIGHT = "sightline/weight-percent"
REQUEST = "sightline/request"
MOVED_AT = "sightline/moved-at"
# Of which template a route was made.
TEMPLATE = "sightline/template"
# On pods: which spec they run.
REVISION = "sightline/revision"
# Which revision was the latest when this spec was written (Knative mode).
FOLLOWS = "sightline/follows"
MANAGED_BY = "app.kubernetes.io/managed-by"
# KServe's: an InferenceService that has it "true" is kept without pods and Service.
STOP = "serving.kserve.io/stop"


@dataclass(frozen=True)
class Names:
    """The names that follow from the release's.

    Attributes:
        target: the InferenceService that the chart changes, and the release's name.
    """

    target: str

    @property
    def primary(self) -> str:
        """The InferenceService with the last promoted spec."""
        return f"{self.target}-primary"

    @property
    def analyst(self) -> str:
        """ConfigMap of the chart with the settings; Deployment, Lease and Role, too."""
        return f"{self.target}-analyst"

    @property
    def record(self) -> str:
        """ConfigMap of the analyst with what it knows."""
        return f"{self.target}-rollout"

    @property
    def route(self) -> str:
        """HTTPRoute that divides the requests."""
        return f"{self.target}-route"


def workload(service: str) -> str:
    """KServe's Deployment and Service of an InferenceService in Standard mode."""
    return f"{service}-predictor"
