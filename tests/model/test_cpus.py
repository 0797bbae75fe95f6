import os
from pathlib import Path

import pytest

from model.cpus import usable_cpus

MANY = set(range(64))


@pytest.fixture(autouse=True)
def large_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: MANY)


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", 64),
        ("900000000 100000", 64),
        ("nonsense", 64),
    ],
)
def test_the_quota_of_cgroup_2_bounds_the_cpus(tmp_path: Path, content: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert usable_cpus(tmp_path, tmp_path / "none") == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("400000", 4), ("-1", 64)])
def test_the_quota_of_cgroup_1_bounds_the_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(tmp_path, tmp_path / "none") == cpus


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path, tmp_path / "none") == 64


@pytest.mark.parametrize(
    ("line", "group", "file", "content", "cpus"),
    [
        ("0::/a.slice/b.service", "a.slice", "cpu.max", "300000 100000", 3),
        ("0::/a.slice/b.service", "a.slice/b.service", "cpu.max", "150000 100000", 1),
        ("5:cpu,cpuacct:/pod/c", "cpu/pod", "cpu.cfs_quota_us", "500000", 5),
        ("5:cpu,cpuacct:/pod/c", "cpu/pod/c", "cpu.cfs_quota_us", "250000", 2),
        ("6:memory:/pod/c", "cpu/pod", "cpu.cfs_quota_us", "200000", 64),
        ("7:cpuset:/pod/c", "pod", "cpu.max", "200000 100000", 64),
    ],
)
def test_the_quota_of_any_group_above_the_process_counts(
    tmp_path: Path, line: str, group: str, file: str, content: str, cpus: int
) -> None:
    (tmp_path / "membership").write_text(f"11:devices:/pod/c\n{line}\n")
    (tmp_path / group).mkdir(parents=True)
    (tmp_path / group / file).write_text(content)
    (tmp_path / group / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(tmp_path, tmp_path / "membership") == cpus


def test_of_several_quotas_the_smallest_counts(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    for group, quota in ((".", "max"), ("a", "200000"), ("a/b", "800000")):
        (tmp_path / group / "cpu.max").write_text(f"{quota} 100000")
    assert usable_cpus(tmp_path, tmp_path / "membership") == 2


def test_a_narrower_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    (tmp_path / "cpu.max").write_text("400000 100000")
    assert usable_cpus(tmp_path, tmp_path / "none") == 1
