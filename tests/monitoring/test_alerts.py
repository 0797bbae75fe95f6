"""Every alert fires when it should, and not when it should not; promtool is the judge."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import Rendered
from tests.monitoring.programs import promtool
from tests.monitoring.queries import WATCHED, rules

BY = 'namespace="models",release="cxr",serving_kserve_io_inferenceservice="cxr",pod="cxr-0"'
CANARY = BY.replace('"cxr",pod="cxr-0"', '"cxr-canary",pod="cxr-canary-0"')
JOBS = 'namespace="models"'
READY = {f"sightline_ready{{{BY}}}": "1x150"}


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, and the alerts that fire at a time, exactly."""

    about: str
    says: str
    series: Mapping[str, str]
    at: str
    fires: tuple[str, ...] = ()
    interval: str = "2m"
    values: Any = None

    @property
    def name(self) -> str:
        return f"{self.about.removeprefix('Sightline')}: {self.says}"


def given(**rule: Any) -> Any:
    return {"prometheusRule": {"enabled": True, **rule}}


def requests(bad: str, good: str, status: int = 500) -> dict[str, str]:
    return {
        f'sightline_requests_total{{{BY},status="{status}"}}': bad,
        f'sightline_requests_total{{{BY},status="200"}}': good,
        f"sightline_ready{{{BY}}}": "1x150",
    }


def times(fast: str, all_of_them: str) -> dict[str, str]:
    return {
        f'sightline_stage_seconds_bucket{{{BY},stage="total",le="0.5"}}': fast,
        f'sightline_stage_seconds_count{{{BY},stage="total"}}': all_of_them,
        f"sightline_ready{{{BY}}}": "1x150",
    }


def predictions(by: str = BY, **shares: str) -> dict[str, str]:
    return {
        f'sightline_predictions_total{{{by},class="{name}",risk="Low"}}': values
        for name, values in shares.items()
    } | READY


def risks(by: str = BY, **shares: str) -> dict[str, str]:
    return {
        f'sightline_predictions_total{{{by},class="of_{risk}",risk="{risk}"}}': values
        for risk, values in shares.items()
    } | READY


def job(name: str, started_s: int, *, failed: bool) -> dict[str, str]:
    ended = {"kube_job_failed": failed, "kube_job_complete": not failed}
    return (
        {
            f'{metric}{{{JOBS},job_name="{name}",condition="{condition}"}}': f"{int(is_so)}x60"
            for metric, holds in ended.items()
            for condition, is_so in (("true", holds), ("false", not holds))
        }
        | {f'kube_job_status_start_time{{{JOBS},job_name="{name}"}}': f"{started_s}x60"}
        | READY
    )


RELEASE = 'namespace="models",release="cxr"'
TRUSTED = BY.replace('"cxr",pod="cxr-0"', '"cxr-primary",pod="cxr-primary-0"')
# With the analyst, what is promoted is a service of its own.
PRIMARY = {f"sightline_ready{{{TRUSTED}}}": "1x60"}
ANALYST: Any = {
    "analyst": {"enabled": True, "prometheus": {"address": "http://prometheus"}},
    "route": {"type": "httpRoute", "parentRefs": [{"name": "public"}]},
}
FAST = "SightlineAvailabilityBurnFast"
SLOW = "SightlineAvailabilityBurnSlow"
LATE = "SightlineLatencyBurnFast"
LATE_SLOW = "SightlineLatencyBurnSlow"
COLLAPSE = "SightlineClassCollapse"
SURGE = "SightlineAbstentionSurge"
SELFTEST = "SightlineSelfTestFailing"
QUEUE = "SightlineQueueSaturated"
REJECTING = "SightlineRejecting"
UNREADABLE = "SightlineImagesUnreadable"
CHAMPION = "SightlineNoChampion"
STUCK = "SightlineRolloutStuck"
ROLLED_BACK = "SightlineRolledBack"
SILENT = "SightlineAnalystSilent"
PODS = "SightlinePodsNotStarting"
TRAINING = "SightlineTrainingFailed"


def analyst(phase: str, looked: str = "0+120x60", leads: str = "1x60") -> dict[str, str]:
    phases = ("idle", "waiting", "analysing", "held", "promoting", "rolled back")
    return {
        f'sightline_rollout_phase{{{RELEASE},pod="a",phase="{each}"}}': f"{int(each == phase)}x60"
        for each in phases
    } | {
        f'sightline_rollout_leading{{{RELEASE},pod="a"}}': leads,
        f'sightline_rollout_last_look_timestamp_seconds{{{RELEASE},pod="a"}}': looked,
        **PRIMARY,
    }


def deployment(name: str, wanted: str, there: str) -> dict[str, str]:
    by = f'{{namespace="models",deployment="{name}"}}'
    return {
        f"kube_deployment_spec_replicas{by}": wanted,
        f"kube_deployment_status_replicas_available{by}": there,
        **READY,
    }


def selftest(**passed: str) -> dict[str, str]:
    return {
        f'sightline_selftest_passed{{{BY},engine="{each.split("_")[0]}",'
        f'precision="{each.split("_")[1]}",device="cpu"}}': value
        for each, value in passed.items()
    } | READY


def house(images: str, limit: str = "128x60") -> dict[str, str]:
    return {
        f"sightline_admitted_images{{{BY}}}": images,
        f"sightline_admitted_images_limit{{{BY}}}": limit,
        **READY,
    }


def rejections(reason: str, refused: str) -> dict[str, str]:
    return {
        f'sightline_rejections_total{{{BY},reason="{reason}"}}': refused,
        f'sightline_requests_total{{{BY},status="404"}}': refused,
        f'sightline_requests_total{{{BY},status="200"}}': "0+100x60",
        **READY,
    }


def unreadable(errors: str, others: str) -> dict[str, str]:
    return {
        f'sightline_image_errors_total{{{BY},reason="corrupt"}}': errors,
        f'sightline_requests_total{{{BY},status="400"}}': errors,
        f'sightline_requests_total{{{BY},status="200"}}': others,
        **READY,
    }


# The budget is 0.5 % of the requests. Where a page is due so early, the ticket is, too.
BURNS = [
    Case(FAST, "a tenth fails", requests("0+10x40", "0+90x40"), "70m", (FAST, SLOW)),
    Case(FAST, "429 is a failure", requests("0+10x40", "0+90x40", 429), "70m", (FAST, SLOW)),
    Case(FAST, "504 is a failure", requests("0+10x40", "0+90x40", 504), "70m", (FAST, SLOW)),
    Case(FAST, "what the clients do wrong is none", requests("0+10x40", "0+90x40", 400), "70m"),
    Case(FAST, "none fails", requests("0x40", "0+90x40"), "70m"),
    Case(
        FAST,
        "until forty minutes ago a tenth failed",
        requests("0+10x20 200x25", "0+90x45"),
        "80m",
        (SLOW,),
    ),
    Case(FAST, "all of too few fail", requests("0+1x40", "0x40"), "70m"),
    Case(
        FAST,
        "another objective allows it",
        requests("0+10x40", "0+90x40"),
        "70m",
        (SLOW,),
        values=given(slo={"availability": {"objective": 0.98}}),
    ),
    Case(
        FAST,
        "a twentieth for six hours",
        requests("0+5x40", "0+95x40"),
        "370m",
        (FAST, SLOW),
        interval="10m",
    ),
    Case(
        FAST,
        "two per cent for six hours",
        requests("0+2x40", "0+98x40"),
        "370m",
        (SLOW,),
        interval="10m",
    ),
    Case(
        SLOW,
        "two per cent for a day",
        requests("0+10x60", "0+490x60"),
        "1470m",
        (SLOW,),
        interval="30m",
    ),
    Case(
        SLOW,
        "0.8 per cent for three days",
        requests("0+4x150", "0+496x150"),
        "4380m",
        (SLOW,),
        interval="30m",
    ),
    Case(SLOW, "0.3 per cent for a day", requests("0+3x60", "0+997x60"), "1470m", interval="30m"),
    Case(
        SLOW,
        "it was mended half a day ago",
        requests("0+10x24 240x36", "0+490x60"),
        "1470m",
        interval="30m",
    ),
    Case(LATE, "a fifth takes longer", times("0+80x40", "0+100x40"), "70m", (LATE, LATE_SLOW)),
    Case(LATE, "one in two hundred takes longer", times("0+199x40", "0+200x40"), "70m"),
    Case(LATE, "all of too few take longer", times("0x40", "0+1x40"), "70m"),
    Case(
        LATE,
        "it is fast again",
        times("0+80x20 1700+100x25", "0+100x46"),
        "80m",
        (LATE_SLOW,),
    ),
    Case(
        LATE_SLOW,
        "four in a hundred for a day",
        times("0+480x60", "0+500x60"),
        "1470m",
        (LATE_SLOW,),
        interval="30m",
    ),
    Case(
        LATE_SLOW,
        "one in two hundred for a day",
        times("0+995x60", "0+1000x60"),
        "1470m",
        interval="30m",
    ),
]
OTHERS = [
    Case(
        CHAMPION, "the pod is not ready", {f"sightline_ready{{{BY}}}": "0x20"}, "10m", (CHAMPION,)
    ),
    Case(CHAMPION, "there is no pod", {"up": "1x20"}, "10m", (CHAMPION,)),
    Case(
        CHAMPION,
        "a canary is no champion",
        {f"sightline_ready{{{CANARY}}}": "1x20"},
        "10m",
        (CHAMPION,),
    ),
    Case(CHAMPION, "the pod is ready", READY, "10m"),
    Case(
        CHAMPION,
        "one pod of two is ready",
        READY | {f"sightline_ready{{{BY.replace('cxr-0', 'cxr-1')}}}": "0x20"},
        "10m",
    ),
    Case(CHAMPION, "a start takes three minutes", {f"sightline_ready{{{BY}}}": "0x1 1x20"}, "6m"),
    Case(
        PODS, "one of two is missing", deployment("cxr-predictor", "2x30", "1x30"), "20m", (PODS,)
    ),
    Case(
        PODS,
        "the canary's is missing",
        deployment("cxr-canary-predictor", "1x30", "0x30"),
        "20m",
        (PODS,),
    ),
    Case(PODS, "all are there", deployment("cxr-predictor", "2x30", "2x30"), "20m"),
    Case(PODS, "one is being replaced", deployment("cxr-predictor", "2x30", "1x8 2x30"), "20m"),
    Case(PODS, "another release's", deployment("cxr2-predictor", "2x30", "1x30"), "20m"),
    Case(
        SELFTEST,
        "no engine reproduces INT8",
        selftest(openvino_int8="0x20", onnxruntime_int8="0x20", onnxruntime_fp32="1x20"),
        "10m",
        (SELFTEST,),
    ),
    Case(
        SELFTEST,
        "another engine reproduces it",
        selftest(openvino_int8="0x20", onnxruntime_int8="1x20", onnxruntime_fp32="1x20"),
        "10m",
    ),
    Case(QUEUE, "nine tenths of the house", house("115x30"), "15m", (QUEUE,)),
    Case(QUEUE, "half of the house", house("64x30"), "15m"),
    Case(QUEUE, "full for a minute", house("20x8 128x0 20x30"), "15m"),
    Case(
        REJECTING, "a tenth is sent away", rejections("queue_full", "0+10x60"), "15m", (REJECTING,)
    ),
    Case(
        REJECTING,
        "the bodies are too many",
        rejections("uploads_full", "0+10x60"),
        "15m",
        (REJECTING,),
    ),
    Case(REJECTING, "as many ask for another model", rejections("unknown_model", "0+10x60"), "15m"),
    Case(REJECTING, "one in a thousand", rejections("queue_full", "0+0.1x60"), "15m"),
    Case(
        UNREADABLE, "a tenth is unreadable", unreadable("0+10x60", "0+90x60"), "30m", (UNREADABLE,)
    ),
    Case(UNREADABLE, "one in a hundred is", unreadable("0+1x60", "0+99x60"), "30m"),
    Case(UNREADABLE, "all of a few are", unreadable("0+1x60", "0x60"), "30m"),
    Case(
        COLLAPSE,
        "one class takes all",
        # Six hours as they should be, then one class alone.
        predictions(normal="0+30x36 1110+60x12", nodule="0+30x36 1080x12"),
        "480m",
        (COLLAPSE,),
        interval="10m",
    ),
    Case(
        COLLAPSE,
        "of the canary alone",
        predictions(normal="0+30x48", nodule="0+30x48")
        | predictions(CANARY, nodule="_x36 0+40x12"),
        "480m",
        (COLLAPSE,),
        interval="10m",
    ),
    Case(
        COLLAPSE,
        "the patients were always so",
        predictions(normal="0+57x48", nodule="0+3x48"),
        "480m",
        interval="10m",
    ),
    Case(
        COLLAPSE,
        "classes stay as they were",
        predictions(normal="0+30x48", nodule="0+30x48"),
        "480m",
        interval="10m",
    ),
    Case(
        COLLAPSE,
        "of few images",
        predictions(normal="0+3x36 111+6x12", nodule="0+3x36 108x12"),
        "480m",
        interval="10m",
    ),
    Case(
        SURGE,
        "four tenths where it was one",
        risks(Low="0+54x36 1980+36x12", Indeterminate="0+6x36 240+24x12"),
        "480m",
        (SURGE,),
        interval="10m",
    ),
    Case(
        SURGE,
        "of the canary alone",
        risks(Low="0+54x48", Indeterminate="0+6x48")
        | risks(CANARY, Low="_x36 0+20x12", Indeterminate="_x36 0+20x12"),
        "480m",
        (SURGE,),
        interval="10m",
    ),
    Case(
        SURGE,
        "from the first day on",
        risks(Low="0+36x24", Indeterminate="0+24x24"),
        "60m",
        (SURGE,),
        interval="10m",
    ),
    Case(
        SURGE,
        "it always abstains so often",
        risks(Low="0+36x48", Indeterminate="0+24x48"),
        "480m",
        interval="10m",
    ),
    Case(
        SURGE,
        "of few images",
        risks(Low="0+5x36 183+3x12", Indeterminate="0x36 0+3x12"),
        "480m",
        interval="10m",
    ),
    Case(TRAINING, "the only Job", job("cxr-training-1", 1000, failed=True), "5m", (TRAINING,)),
    Case(
        TRAINING,
        "the last of two",
        job("cxr-training-1", 1000, failed=False) | job("cxr-training-2", 2000, failed=True),
        "5m",
        (TRAINING,),
    ),
    Case(
        TRAINING,
        "one before the last",
        job("cxr-training-1", 1000, failed=True) | job("cxr-training-2", 2000, failed=False),
        "5m",
    ),
    Case(TRAINING, "a Job of others", job("cxr-backup-1", 1000, failed=True), "5m"),
    Case(
        TRAINING,
        "a Job of k8s/training",
        job("retrain-1", 1000, failed=True),
        "5m",
        (TRAINING,),
        values=given(trainingJobs="(re)?train.*"),
    ),
]
ROLLOUTS = [
    Case(STUCK, "held for long", analyst("held"), "80m", (STUCK,), values=ANALYST),
    Case(STUCK, "its pods do not come", analyst("waiting"), "80m", (STUCK,), values=ANALYST),
    Case(STUCK, "held for half an hour", analyst("held"), "30m", values=ANALYST),
    Case(STUCK, "it is looked at", analyst("analysing"), "80m", values=ANALYST),
    Case(STUCK, "none is under way", analyst("idle"), "80m", values=ANALYST),
    Case(ROLLED_BACK, "just now", analyst("rolled back"), "4m", (ROLLED_BACK,), values=ANALYST),
    Case(ROLLED_BACK, "it was promoted", analyst("idle"), "4m", values=ANALYST),
    Case(
        SILENT,
        "its looks fail in the middle",
        analyst("analysing", looked="0x60"),
        "40m",
        (SILENT,),
        values=ANALYST,
    ),
    Case(SILENT, "nobody leads", analyst("idle", leads="0x60"), "30m", (SILENT,), values=ANALYST),
    Case(SILENT, "it is away", PRIMARY, "30m", (SILENT,), values=ANALYST),
    Case(
        SILENT,
        "there is nothing to look at",
        analyst("idle", looked="0x60"),
        "40m",
        values=ANALYST,
    ),
    Case(
        SILENT,
        "one of two leads",
        analyst("analysing") | {f'sightline_rollout_leading{{{RELEASE},pod="b"}}': "0x60"},
        "40m",
        values=ANALYST,
    ),
    Case(
        CHAMPION,
        "the new model alone is no champion",
        {**analyst("analysing"), **READY, f"sightline_ready{{{TRUSTED}}}": "0x60"},
        "10m",
        (CHAMPION,),
        values=ANALYST,
    ),
]
CASES = [*BURNS, *OTHERS, *ROLLOUTS]


@cache
def groups(values: str) -> str:
    """The rules of a release with these values, as Prometheus reads them."""
    rendered = Rendered(WATCHED | json.loads(values))
    return yaml.safe_dump(rendered.one("PrometheusRule")["spec"])


def run(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(groups(json.dumps(case.values or {})))
    checks = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.interval,
        "tests": [
            {
                "interval": case.interval,
                "input_series": [
                    {"series": name, "values": values} for name, values in case.series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": case.at,
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in case.fires
                        ],
                    }
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(checks))
    return promtool("test", "rules", str(folder / "test.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_these_alerts_fire_and_no_others(case: Case, tmp_path: Path) -> None:
    result = run(case, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def alerts(rendered: Rendered) -> list[dict[str, Any]]:
    return [each for each in rules(rendered) if "alert" in each]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    names = {each["alert"] for each in alerts(Rendered(WATCHED | ANALYST))}
    assert {case.about for case in CASES if case.about in case.fires} == names
    assert {case.about for case in CASES if case.about not in case.fires} == names
