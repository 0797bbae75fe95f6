"""A server with a certificate: both of its ports are encrypted."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from model.bundle import Bundle
from tests.predictor.bundles import png
from tests.predictor.servers import RunningServer, stub_of


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sightline")])
    now = datetime.now(UTC)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "tls.crt", directory / "tls.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_with_a_certificate_both_ports_are_encrypted(
    bundle: Bundle,
    tmp_path: Path,
    pictures: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    image = png(pictures[0])
    message = pb.ModelInferRequest(model_name="tiny")
    message.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        image
    )
    arguments = ["--ssl_certfile", str(certificate), "--ssl_keyfile", str(key)]
    with RunningServer(
        ["--bundle", str(bundle.path), "--engine", "onnxruntime", *arguments]
    ) as server:
        plain, server.url = server.url, server.url.replace("http:", "https:")
        server.wait_until_ready()
        path, headers = "/v1/models/tiny:predict", {"content-type": "image/png"}
        answer = httpx.post(server.url + path, content=image, headers=headers)
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(plain + path, content=image, headers=headers)
        address = f"127.0.0.1:{server.grpc_port}"
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(address, trusted) as channel:
            assert stub_of(channel).ModelInfer(message, timeout=60.0).model_name == "tiny"
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
            stub_of(channel).ModelInfer(message, timeout=10.0)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
