import logging
from pathlib import Path

import pytest

from predictor.bearer import TokenFile
from predictor.errors import StartError, UnauthorisedError


def opens(tokens: TokenFile, authorization: str | None) -> bool:
    try:
        tokens.check(authorization)
    except UnauthorisedError:
        return False
    return True


def mounted(directory: Path, version: str, content: str) -> Path:
    """As Kubernetes mounts a secret: the file is a link through a link that is replaced."""
    (directory / version).mkdir()
    (directory / version / "token").write_text(content)
    link = directory / "..data.new"
    link.symlink_to(version)
    link.replace(directory / "..data")
    file = directory / "token"
    if not file.is_symlink():
        file.symlink_to("..data/token")
    return file


def test_only_the_token_opens(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    tokens = TokenFile(file)
    assert opens(tokens, "Bearer s3cret")
    assert opens(tokens, "bearer s3cret")
    for wrong in (None, "", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3cretx",
                  "Bearer é", "Bearer s3cret s3cret"):  # fmt: skip
        assert not opens(tokens, wrong)


def test_a_rotated_secret_is_read_again(tmp_path: Path) -> None:
    tokens = TokenFile(mounted(tmp_path, "v1", "old"))
    mounted(tmp_path, "v2", "old\nnew\n")
    assert opens(tokens, "Bearer new")
    assert opens(tokens, "Bearer old"), "both are in force while clients change over"
    mounted(tmp_path, "v3", "new")
    assert opens(tokens, "Bearer new")
    assert not opens(tokens, "Bearer old")


@pytest.mark.parametrize("slip", ["gone", "empty"])
def test_a_slip_with_the_file_lets_in_who_was_let_in_before(
    tmp_path: Path, slip: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret")
    tokens = TokenFile(file)
    caplog.set_level(logging.INFO, "sightline")
    if slip == "gone":
        file.unlink()
    else:
        file.write_text("\n")
    for _ in range(3):
        assert opens(tokens, "Bearer s3cret")
        assert not opens(tokens, "Bearer ")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    file.write_text("another")
    assert opens(tokens, "Bearer another")
    assert "another" not in caplog.text


def test_a_file_that_is_absent_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"--token_file .*absent cannot be read: No such file"):
        TokenFile(tmp_path / "absent")
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(StartError, match=r"--token_file .*empty is empty"):
        TokenFile(tmp_path / "empty")
