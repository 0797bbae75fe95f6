"""The primary's autoscaler during a rollout: it must not take away what will be needed again.

While the target has a share, the primary has less to do, and an autoscaler would take pods away.
A rollback and the end of a promotion give everything back to the primary at once.
"""

from typing import Literal

from k8s.rollout.cluster import Cluster, Kind

Which = Literal["hpa", "keda", "none"]

_HPA = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
_KEDA = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
# Kind, and what the fewest and the most pods are called there.
_FIELDS = {
    "hpa": (_HPA, "minReplicas", "maxReplicas"),
    "keda": (_KEDA, "minReplicaCount", "maxReplicaCount"),
}


def hold(cluster: Cluster, which: Which, name: str, replicas: int) -> None:
    """Have an autoscaler keep at least so many pods, as far as its most allow.

    Args:
        cluster: the API.
        which: kind of autoscaler; with `none` there is nothing to do.
        name: of the autoscaler; one that is missing is left alone.
        replicas: the fewest pods.
    """
    if which == "none":
        return
    kind, least, most = _FIELDS[which]
    found = cluster.get(kind, name)
    if found is None:
        return
    wanted = min(replicas, found["spec"][most])
    if found["spec"].get(least) != wanted:
        cluster.merge(kind, name, {"spec": {least: wanted}})
