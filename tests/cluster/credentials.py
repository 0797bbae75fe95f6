"""Who may talk to the control plane, and how they know it."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

NODE = "node-1"
# Names as the real components have them: what each may do hangs on its name.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kserve": (
        "system:serviceaccount:kserve:kserve-controller-manager",
        "system:serviceaccounts",
    ),
    "kwok": ("kwok", "system:masters"),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
    "gateway": ("gateway", "system:masters"),
}


@dataclass(frozen=True)
class Credentials:
    """Files with the keys, certificates and tokens of one control plane."""

    folder: Path
    server: str

    @classmethod
    def create(cls, folder: Path, server: str, addresses: list[str]) -> "Credentials":
        """Make them all.

        Args:
            folder: for the files.
            server: URL of the API server.
            addresses: of the API server, also those beside that of the URL.
        """
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.crt")
        names = ["127.0.0.1", "localhost", "kubernetes.default.svc", *addresses]
        for name in ("apiserver", "webhook"):
            pair = authority.issue_cert(*names)
            pair.private_key_pem.write_to_path(folder / f"{name}.key")
            for each in pair.cert_chain_pems:
                each.write_to_path(folder / f"{name}.crt", append=True)
        _service_account_keys(folder)
        made = cls(folder, server)
        rows = []
        for number, (login, (user, group)) in enumerate(USERS.items()):
            token = secrets.token_hex(16)
            rows.append(f'{token},{user},{number},"{group}"\n')
            made._write_kubeconfig(login, token)
        made.file("tokens.csv").write_text("".join(rows))
        return made

    def file(self, name: str) -> Path:
        return self.folder / name

    def kubeconfig(self, login: str) -> Path:
        return self.file(f"{login}.kubeconfig")

    def _write_kubeconfig(self, login: str, token: str) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": login,
            "contexts": [{"name": login, "context": {"cluster": "tests", "user": login}}],
            "users": [{"name": login, "user": {"token": token}}],
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {
                        "server": self.server,
                        "certificate-authority": str(self.file("ca.crt")),
                    },
                }
            ],
        }
        self.kubeconfig(login).write_text(yaml.safe_dump(config))


def _service_account_keys(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "sa.key").write_bytes(private)
    (folder / "sa.pub").write_bytes(public)
