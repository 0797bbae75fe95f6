"""Training: Jobs, how long they took, and how they ended. From kube-state-metrics' series."""

from scripts.dashboards.layout import Dashboard, Row
from scripts.dashboards.panels import Column, Panel, Query
from scripts.dashboards.queries import JOB, RELEASE, RELEASES, TRAINING_NAMESPACE

_CHOSEN = 'namespace="$namespace",job_name=~"$job"'
_CRON = 'namespace="$namespace",cronjob=~"(.+-)?(training|retrain)(-.+)?"'
_ENDED = {1: "yes", 0: ""}


def _job(metric: str, *matchers: str) -> str:
    return f"{metric}{{{','.join((_CHOSEN, *matchers))}}}"


def _max_by_job(expr: str) -> str:
    return f"max by (job_name) ({expr})"


_RUNNING = f"{_job('kube_job_status_active')} > 0"
_STARTED = _job("kube_job_status_start_time")
_TOOK = _max_by_job(f"{_job('kube_job_status_completion_time')} - {_STARTED}")
_DONE = _job("kube_job_complete", 'condition="true"')
_FAILED = _job("kube_job_failed", 'condition="true"')

NOW = Row(
    "Now",
    (
        Panel(
            "Running",
            "short",
            "Trainings with a pod, or waiting for one.",
            "None when one should run: look at the CronJob, at Kueue, and at the lease in the "
            "registry.",
            (Query(f"sum({_job('kube_job_status_active')})"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Done",
            "short",
            "Of the Jobs that are still kept.",
            "Done is not released: the gate may have refused the model, which fails its Job.",
            (Query(f"sum({_DONE})"),),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "green"),),
        ),
        Panel(
            "Failed",
            "short",
            "Of the Jobs that are still kept.",
            "Runbook 'Training failed'.",
            (Query(f"sum({_FAILED})"),),
            kind="stat",
            width=4,
            height=4,
            steps=((None, "green"), (1, "red")),
        ),
        Panel(
            "Longest running",
            "s",
            "Time since the oldest unfinished Job began.",
            "Much longer than 'Duration' says: is it waiting for a node, for Kueue, or for other "
            "pods of its group? kubectl describe job.",
            (Query(f"max(time() - ({_STARTED} and on (job_name) {_RUNNING}))"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Since the last retraining that succeeded",
            "s",
            "Of each CronJob. One that found nothing to do has succeeded, too.",
            "More than a period of its schedule: look at its last Jobs.",
            (
                Query(
                    f"time() - kube_cronjob_status_last_successful_time{{{_CRON}}}",
                    "{{cronjob}}",
                ),
            ),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Until the next retraining",
            "s",
            "Of each CronJob.",
            "Negative: the cluster is behind, or the CronJob is suspended.",
            (Query(f"kube_cronjob_next_schedule_time{{{_CRON}}} - time()", "{{cronjob}}"),),
            kind="stat",
            width=4,
            height=4,
        ),
    ),
)

JOBS = Row(
    "Jobs",
    (
        Panel(
            "Outcomes",
            "short",
            "Every Job that is still kept.",
            "Failed: runbook 'Training failed'. Several failed pods and done: nodes or servers "
            "were away, and it went on by itself.",
            (
                Query(_max_by_job(f"{_STARTED} * 1000")),
                Query(_TOOK),
                Query(_max_by_job(_DONE)),
                Query(_max_by_job(_FAILED)),
                Query(f"sum by (job_name) ({_job('kube_job_status_failed')})"),
            ),
            kind="table",
            width=24,
            columns=(
                Column("job_name", "Job"),
                Column("Value #A", "Begun", "dateTimeAsIso"),
                Column("Value #B", "Took", "s"),
                Column("Value #C", "Done", words=_ENDED),
                Column("Value #D", "Failed", words=_ENDED),
                Column("Value #E", "Failed pods"),
            ),
        ),
        Panel(
            "Running and waiting",
            "short",
            "Pods of each Job.",
            "More pods than meant: two Jobs at the same run wait for each other's lock.",
            (Query(_max_by_job(_job("kube_job_status_active")), "{{job_name}}"),),
            stacked=True,
        ),
        Panel(
            "Duration",
            "s",
            "From a Job's start to its end, those before it included that were interrupted.",
            "Longer than before with the same data: fewer CPUs, another GPU, a slow volume; the "
            "run's record has images per second.",
            (Query(_TOOK, "{{job_name}}"),),
            kind="bargauge",
        ),
        Panel(
            "Failed pods",
            "short",
            "Pods that failed, by Job; an interruption with its state saved is none.",
            "The exit code says what it was: docs/kubernetes.md, 'When a pod ends early'.",
            (
                Query(
                    f"sum by (job_name) ({_job('kube_job_status_failed')})",
                    "{{job_name}}",
                ),
            ),
        ),
    ),
)

TRAINING = Dashboard(
    "training",
    "Training",
    "Training Jobs, how long they took and how they ended.",
    (TRAINING_NAMESPACE, RELEASE, JOB),
    (RELEASES,),
    (NOW, JOBS),
)
