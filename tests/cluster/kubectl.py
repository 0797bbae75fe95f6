"""The API server as people talk to it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.tools import program
from tests.helm.chart import ROOT, tool

Object = dict[str, Any]
T = TypeVar("T")

PATIENCE_S = 120.0


class Kubectl:
    """Real kubectl and real helm, as one user.

    Args:
        kubeconfig: says where the server is and who talks to it.
        home: where helm keeps what it caches.
    """

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self.kubeconfig = kubeconfig
        self._numbers = count(1)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(kubeconfig),
        }

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._run([program("kubectl"), *arguments], given)

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([tool("helm"), *arguments], None)

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """What it prints; it has to succeed."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, kind: str, name: str, namespace: str) -> Object:
        found: Object = json.loads(self("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def find(self, kind: str, name: str, namespace: str) -> Object | None:
        """The object, or None where there is none."""
        arguments = ("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        text = self(*arguments)
        found: Object | None = json.loads(text) if text else None
        return found

    def all(self, kinds: str, namespace: str) -> list[Object]:
        found: list[Object] = json.loads(self("get", kinds, "-n", namespace, "-o", "json"))["items"]
        return found

    def apply(self, *objects: Object) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def patch_status(self, kind: str, name: str, namespace: str, status: Object) -> None:
        patch = json.dumps({"status": status})
        where = ("-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        self("patch", kind, name, *where)

    @contextmanager
    def namespace(self, name: str, security: str = "restricted") -> Iterator[str]:
        """A namespace of that name and a number, with a level of Pod Security; gone afterwards."""
        labels = {
            "pod-security.kubernetes.io/enforce": security,
            "pod-security.kubernetes.io/enforce-version": "v1.34",
        }
        # Another one each time: the last one of that name may still be on its way out.
        name = f"{name[:40].strip('-')}-{next(self._numbers)}"
        metadata = {"name": name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            # Which controllers make a moment later.
            for kind, made in (("configmap", "kube-root-ca.crt"), ("serviceaccount", "default")):
                eventually(partial(self.find, kind, made, name), f"{name} has its {kind}")
            yield name
        finally:
            self("delete", "namespace", name, "--wait=false")

    def _run(self, command: list[str], given: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=self._environment,
            timeout=150.0,
        )


def eventually(look: Callable[[], T | None], what: str, state: Callable[[], Any] = str) -> T:
    """What a look finds, as soon as it finds something.

    Args:
        look: at what may take a while.
        what: should be so.
        state: what there is instead, for the error.

    Raises:
        AssertionError: it has found nothing for two minutes.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found:
            return found
        late = time.monotonic() > deadline
        assert not late, f"{what}: not so after {PATIENCE_S:.0f} s. {state()}"
        time.sleep(0.2)
