"""What the chart tells the analyst, in the ConfigMap that both of them know."""

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from k8s.rollout.cluster import CONFIG_MAP, Cluster, Object
from k8s.rollout.names import Names
from k8s.rollout.policy import Policy
from k8s.rollout.scaler import Which

SETTINGS_KEY = "analyst.yaml"
ROUTE_KEY = "route.yaml"
SERVICE_KEY = "inferenceservice.yaml"


class SettingsError(Exception):
    """The ConfigMap is missing or cannot be used; names the field, its value and the remedy."""


class Source(BaseModel):
    """Where the metrics are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(min_length=1, description="Address of Prometheus.")
    matchers: str = Field("", description="Label matchers that hold for both sides.")
    token_file: str = Field("", description="File with the token that Prometheus wants.")


class References(BaseModel):
    """Requests that the analyst sends itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field("", description="Folder with the images; no requests are sent if empty.")
    port: int = Field(80, ge=1, le=65535, description="Port of the Services.")
    token_file: str = Field("", description="File with the tokens that the predictor wants.")


class Autoscaling(BaseModel):
    """The autoscaler of the primary, as the values have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Which = "none"
    min_replicas: int = Field(1, ge=0, description="Fewest pods while nothing is tried.")


class Settings(BaseModel):
    """Everything but the names, which follow from the release's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["Standard", "Knative"] = "Standard"
    model_name: str = Field(min_length=1, description="Name of the model in addresses.")
    interval_s: float = Field(10, gt=0, le=600, description="Time between two looks.")
    prometheus: Source
    references: References = Field(default_factory=References)
    autoscaling: Autoscaling = Field(default_factory=Autoscaling)
    policy: Policy = Field(default_factory=Policy)


class Configuration(BaseModel):
    """The ConfigMap, parsed.

    Attributes:
        settings: how to decide and where to look.
        route: HTTPRoute that sends everything to the target (Standard mode).
        service: InferenceService as the chart wants it (Knative mode).
        owner: reference that makes an object go when the ConfigMap goes.
    """

    model_config = ConfigDict(frozen=True)

    settings: Settings
    route: Object
    service: Object
    owner: Object
    source: Object


def read(cluster: Cluster, names: Names, known: Configuration | None = None) -> Configuration:
    """The settings as they are now: an upgrade changes them without a restart.

    Args:
        cluster: the API.
        names: of the release.
        known: what was read before, which is parsed again only if it has changed.

    Raises:
        SettingsError: there is no such ConfigMap, or it is not one of the chart's.
        ApiError: the API refused or did not answer.
    """
    source = cluster.get(CONFIG_MAP, names.analyst)
    if source is None:
        raise SettingsError(
            f"ConfigMap {cluster.namespace}/{names.analyst} is missing; the chart makes it with "
            "analyst.enabled=true"
        )
    if known is not None and known.source["metadata"] == source["metadata"]:
        return known
    data = source.get("data") or {}
    try:
        settings = Settings.model_validate(yaml.safe_load(data[SETTINGS_KEY]))
        route, service = (_object(data.get(key)) for key in (ROUTE_KEY, SERVICE_KEY))
    except (KeyError, yaml.YAMLError, ValidationError, ValueError) as error:
        raise SettingsError(
            f"ConfigMap {cluster.namespace}/{names.analyst} cannot be used: {error}"
        ) from error
    needed = SERVICE_KEY if settings.mode == "Knative" else ROUTE_KEY
    if needed not in data:
        raise SettingsError(
            f"ConfigMap {cluster.namespace}/{names.analyst} has no {needed}, which mode "
            f"{settings.mode} needs"
        )
    owner = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "name": names.analyst,
        "uid": source["metadata"]["uid"],
    }
    return Configuration(
        settings=settings, route=route, service=service, owner=owner, source=source
    )


def _object(text: Any) -> Object:
    found = yaml.safe_load(text or "{}")
    if not isinstance(found, dict):
        raise ValueError(f"{found!r} is not an object")
    return found
