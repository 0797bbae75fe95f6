"""What the tests of this directory need, and say when they lack it."""

import pytest

from tests.monitoring.programs import program


@pytest.mark.parametrize("name", ["prometheus", "promtool"])
def test_a_missing_program_is_an_error_that_says_where_it_is_to_be_had(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AssertionError, match=f"{name} is missing: apt-get install prometheus"):
        program(name)
    monkeypatch.setenv(f"SIGHTLINE_{name.upper()}", "/bin/sh")
    assert program(name) == "/bin/sh"
