"""The Kubernetes API, as far as the analyst needs it: read, apply, patch and tell events."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from kubernetes import client, config

MANAGER = "sightline-rollout"

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object and where the API has it."""

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        root = "/api" if "/" not in self.api_version else "/apis"
        place = f"{root}/{self.api_version}/namespaces/{namespace}/{self.plural}"
        return f"{place}/{name}" if name else place


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
INFERENCE_SERVICE = Kind("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")


class ApiError(Exception):
    """The API refused or failed; `status` is its HTTP status, 0 if it did not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ConflictError(ApiError):
    """Somebody else has changed the object since it was read."""


class Transport(Protocol):
    """One request to the API: the status and the body of the answer."""

    def __call__(
        self, method: str, path: str, query: Mapping[str, str], body: str, content_type: str
    ) -> tuple[int, bytes]: ...


class KubernetesTransport:
    """By the official client: it finds the cluster, and keeps its credentials fresh.

    Args:
        context: of the kubeconfig, outside a cluster; its current one if None.
        kubeconfig: the file; the usual one if None.
        timeout_s: of a request.

    Raises:
        ApiError: there is neither a service account nor a kubeconfig.
    """

    def __init__(
        self, context: str | None = None, kubeconfig: Path | None = None, timeout_s: float = 10
    ) -> None:
        self.configuration = client.Configuration()
        try:
            if context is None and kubeconfig is None and _in_a_pod():
                config.load_incluster_config(client_configuration=self.configuration)
            else:
                config.load_kube_config(
                    config_file=None if kubeconfig is None else str(kubeconfig),
                    context=context,
                    client_configuration=self.configuration,
                )
        except config.ConfigException as error:
            raise ApiError(0, f"no cluster is configured: {error}") from error
        self._api = client.ApiClient(self.configuration)
        self._timeout_s = timeout_s

    def __call__(
        self, method: str, path: str, query: Mapping[str, str], body: str, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        # The client writes out what it is told is JSON itself.
        content = (json.loads(body) if "json" in content_type else body) if body else None
        request = self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=content,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=self._timeout_s)
        # urllib3 and the client raise what they like when nobody answers.
        except Exception as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        return response.status, response.read()


def _in_a_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


class Cluster:
    """Objects of one namespace.

    Args:
        transport: carries a request to the API.
        namespace: whose objects.
        reporter: who events say they come from.
    """

    def __init__(self, transport: Transport, namespace: str, reporter: str = MANAGER) -> None:
        self._transport = transport
        self.namespace = namespace
        self._reporter = reporter

    def get(self, kind: Kind, name: str) -> Object | None:
        """The object, or None if there is none.

        Raises:
            ApiError: the API refused or did not answer; so for all that follow.
        """
        return self._call("GET", kind, name, missing=True)

    def apply(self, kind: Kind, name: str, content: Mapping[str, Any]) -> Object:
        """Create the object or take over the fields that are given, by server-side apply.

        A `metadata.resourceVersion` among them makes it depend on nobody else having written.

        Raises:
            ConflictError: somebody has.
        """
        body = {"apiVersion": kind.api_version, "kind": kind.name, **content}
        body["metadata"] = {
            **body.get("metadata", {}),
            "name": name,
            "namespace": self.namespace,
        }
        query = {"fieldManager": MANAGER, "force": "true"}
        return self._must("PATCH", kind, name, query, body, "application/apply-patch+yaml")

    def merge(self, kind: Kind, name: str, patch: Mapping[str, Any]) -> Object | None:
        """Change the fields that are given, where null removes one; None if there is no object."""
        query = {"fieldManager": MANAGER}
        return self._call(
            "PATCH", kind, name, query, patch, "application/merge-patch+json", missing=True
        )

    def tell(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Report an Event about an object."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata = about["metadata"]
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": self.namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": self.namespace,
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:8192],
            "source": {"component": self._reporter},
            "firstTimestamp": now[:19] + "Z",
            "lastTimestamp": now[:19] + "Z",
            "count": 1,
            "reportingComponent": self._reporter,
        }
        self._must("POST", EVENT, "", {"fieldManager": MANAGER}, event)

    def _must(
        self,
        method: str,
        kind: Kind,
        name: str,
        query: Mapping[str, str],
        body: Mapping[str, Any],
        content_type: str = "application/json",
    ) -> Object:
        return cast(Object, self._call(method, kind, name, query, body, content_type))

    def _call(
        self,
        method: str,
        kind: Kind,
        name: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        *,
        missing: bool = False,
    ) -> Object | None:
        path = kind.path(self.namespace, name)
        text = "" if body is None else json.dumps(body)
        status, answer = self._transport(method, path, query or {}, text, content_type)
        if status == 404 and missing:
            return None
        if status >= 300:
            said = answer.decode(errors="replace")[:500]
            error = ConflictError if status == 409 else ApiError
            raise error(status, f"{method} {path} was answered with {status}: {said}")
        return cast(Object, json.loads(answer))
