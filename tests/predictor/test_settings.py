import argparse
import sys
from pathlib import Path

import pytest

from predictor.__main__ import build_parser, main
from predictor.errors import StartError
from predictor.settings import MIB, Settings, read_settings


def read(arguments: list[str], environment: dict[str, str] | None = None) -> Settings:
    return read_settings(build_parser().parse_args(arguments), environment or {})


def test_defaults() -> None:
    settings = read([])
    assert settings.engine == settings.precision == "auto"
    assert (settings.max_batch_size, settings.max_queue, settings.timeout_s) == (8, 128, 30.0)
    assert settings.images_per_request == 64
    assert settings.max_body_bytes == settings.limits.max_bytes == 32 * MIB
    assert settings.model_name is None
    assert settings.page
    assert settings.decoders >= 1
    assert settings.engine_cpus >= 1


def test_every_setting_is_a_flag_and_a_variable() -> None:
    flags = {option for action in build_parser()._actions for option in action.option_strings}
    for name in Settings.model_fields:
        assert f"--{name}" in flags
    by_variable = read([], {"SIGHTLINE_MAX_QUEUE": "7", "SIGHTLINE_MODEL_VERSION": "12"})
    assert (by_variable.max_queue, by_variable.model_version) == (7, "12")


def test_a_flag_wins_over_its_variable() -> None:
    assert read(["--max_queue", "9"], {"SIGHTLINE_MAX_QUEUE": "7"}).max_queue == 9


@pytest.mark.parametrize(("value", "shown"), [("false", False), ("off", False), ("true", True)])
def test_the_page_is_a_yes_or_no(value: str, shown: bool) -> None:
    assert read(["--page", value]).page is shown
    assert read([], {"SIGHTLINE_PAGE": value}).page is shown


def test_an_empty_variable_is_no_setting() -> None:
    assert read([], {"SIGHTLINE_MODEL_NAME": "", "SIGHTLINE_TIMEOUT_S": ""}).timeout_s == 30.0


def test_variables_that_kubernetes_makes_for_a_service_are_left_alone() -> None:
    read([], {"SIGHTLINE_PORT": "tcp://10.0.0.1:80", "SIGHTLINE_SERVICE_HOST": "10.0.0.1"})


def test_a_small_queue_bounds_the_images_of_a_request() -> None:
    assert read(["--max_queue", "5"]).images_per_request == 5


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--max_batch_size", "0"], {}, "--max_batch_size is '0'; accepted: greater than or"),
        (
            [],
            {"SIGHTLINE_TIMEOUT_S": "soon"},
            "SIGHTLINE_TIMEOUT_S is 'soon'; accepted: a valid nu",
        ),
        (["--precision", "fp16"], {}, "--precision is 'fp16'; accepted: 'auto', 'fp32' or 'int8'"),
        (["--engine", "tvm"], {}, "engine is 'tvm'; accepted: auto, onnxruntime"),
        (["--log_format", "xml"], {}, "--log_format is 'xml'; accepted: 'json' or 'text'"),
        (["--max_images", "9", "--max_queue", "8"], {}, "max_images is 9, more than max_queue, 8"),
        (["--model_name", "a/b"], {}, "--model_name is 'a/b'"),
        (["--page", "perhaps"], {}, "--page is 'perhaps'; accepted: a valid boolean"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(StartError) as caught:
        read(arguments, environment)
    assert message in str(caught.value)


def test_the_bundle_is_where_kserve_mounts_it_if_nothing_is_said(tmp_path: Path) -> None:
    assert read([]).address(tmp_path) == str(tmp_path)
    assert read(["--bundle", "models:/a/1"]).address(tmp_path) == "models:/a/1"
    with pytest.raises(StartError, match=r"--bundle .*SIGHTLINE_BUNDLE"):
        read([]).address(tmp_path / "absent")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_queu", "5"], "--max_queu"),
        (["--bundle", "x", "--workers", "2"], "--workers is 2; accepted: 1"),
        (["--bundle", "x", "--grpc_port", "70000"], "--grpc_port is 70000; accepted: 1 to 65535"),
        (["--bundle", "x", "--access_log_format", "%s"], "--access_log_format is not accepted"),
        (["--bundle", "x", "--enable_docs_url", "true"], "the description is at /openapi.json"),
        (["--bundle", "x", "--ssl_certfile", "a.pem"], "--ssl_certfile and --ssl_keyfile"),
        (["--bundle", "x", "--max_queue", "many"], "--max_queue is 'many'"),
    ],
)
def test_the_command_refuses_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_help_names_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["predictor"])
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "SIGHTLINE_MAX_BATCH_SIZE" in capsys.readouterr().out


def test_unknown_fields_are_not_taken_from_a_namespace() -> None:
    assert read_settings(argparse.Namespace(unrelated=1), {}).max_queue == 128
