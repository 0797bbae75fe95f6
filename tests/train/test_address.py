from pathlib import Path

import pytest

from train.address import address, is_url, scrubbed, secret_option, without_secrets


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://user:pass@host:8080/a/b.zip?X-Amz-Signature=1#x", "https://host:8080/a/b.zip"),
        ("zip://in::https://token@host/a.zip?sig=1", "zip://in::https://host/a.zip"),
        ("sftp://user:pass@host/path?x=1", "sftp://host/path"),
        ("s3://bucket/what?.png", "s3://bucket/what?.png"),
        ("s3://key:secret@bucket/a@b", "s3://bucket/a@b"),
        ("abfs://container@account.dfs.core.windows.net/a?sig=1",
         "abfs://container@account.dfs.core.windows.net/a"),
    ],
)  # fmt: skip
def test_what_is_recorded_opens_nothing(url: str, recorded: str) -> None:
    assert is_url(url)
    assert address(url) == url
    assert without_secrets(url) == recorded
    assert without_secrets(recorded) == recorded


def test_a_local_url_is_a_path() -> None:
    assert address("file:///a/b%20c") == Path("/a/b c")
    assert address("a/b") == Path("a/b")
    assert without_secrets(Path("a?b")) == "a?b"


def test_a_message_is_rid_of_what_it_quotes() -> None:
    told = scrubbed("403, message='no', url='https://u:p@host/x?sig=1' (https://host/y?token=2)")
    assert told == "403, message='no', url='https://host/x' (https://host/y)"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"anon": True, "endpoint_url": "http://127.0.0.1"}, None),
        ({"token": "anon"}, None),
        ({"token": "ya29.x"}, "token"),
        ({"secret": "x"}, "secret"),
        ({"client_kwargs": {"region_name": "a", "aws_session_token": "x"}},
         "client_kwargs.aws_session_token"),
    ],
)  # fmt: skip
def test_secrets_among_options_are_found(options: dict[str, object], found: str | None) -> None:
    assert secret_option(options) == found
