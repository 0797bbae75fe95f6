"""The step `retrain`: fit, evaluate, export and release, if that would make another model."""

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from train.bundling import run_export
from train.config import TrainConfig
from train.console import Console
from train.errors import ConfigError, RunError
from train.evaluation import run_evaluate
from train.release import run_release
from train.retraining.inputs import Inputs
from train.retraining.lease import HeldError, Lease
from train.run import RETRAINED, Run
from train.tracking.mlflow import connect, talking_to, tracking_uri
from train.training import TRAINING, run_fit

TAG = "retrain."
_PAGE = 100
_SETTLE_S = 2.0


def run_retrain(
    config: TrainConfig, console: Console, *, wait_s: float, lease_s: float, force: bool
) -> bool:
    """Make and release a model, unless the last one was made of the same.

    Args:
        config: of the model.
        console: is told what is done, and why.
        wait_s: how long to wait for another retraining of this model.
        lease_s: how long a retraining that was killed keeps others away.
        force: whether to make it although nothing has changed.

    Returns:
        False where the gate has refused the new model; True otherwise, also if there was nothing
        to do.

    Raises:
        SightlineError: a step failed, or the registry cannot be used.
    """
    if config.tracking.tracker != "mlflow":
        raise ConfigError(
            f"tracking.tracker is {config.tracking.tracker!r}; retrain needs a registry: mlflow"
        )
    client, uri = connect(config.tracking), tracking_uri(config.tracking)
    inputs = Inputs.of(config)
    if not force and _is_done(client, config, inputs, console):
        return True
    lease = Lease(client, uri, config.name, lease_s, min(_SETTLE_S, lease_s / 10.0))
    try:
        with lease.hold(wait_s):
            # Meanwhile another one may have done it, or the data may have changed.
            inputs = Inputs.of(config)
            if not force and _is_done(client, config, inputs, console, say=False):
                console.say("nothing to do: another process has just done it")
                return True
            return _retrain(Run(config, console), client, lease, inputs, force=force)
    except HeldError as held:
        console.say(
            f"{config.name} is being retrained by {held}; nothing was done "
            "(--wait waits until it has ended)"
        )
        return True


def last_retrained(client: MlflowClient, name: str) -> tuple[ModelVersion, Inputs] | None:
    """The newest version that a retraining has made and released or seen refused."""
    token: str | None = None
    while True:
        page = client.search_model_versions(
            f"name='{name}'", _PAGE, order_by=["version_number DESC"], page_token=token
        )
        for version in page:
            tags = {key: version.tags.get(TAG + key) for key in Inputs.model_fields}
            if all(tags.values()):
                return version, Inputs.model_validate(tags)
        token = page.token
        if not token:
            return None


def _is_done(
    client: MlflowClient,
    config: TrainConfig,
    inputs: Inputs,
    console: Console,
    *,
    say: bool = True,
) -> bool:
    name = config.name
    with talking_to(tracking_uri(config.tracking)):
        found = last_retrained(client, name)
    if found is None:
        if say:
            console.say(f"no version of {name} is of a retraining yet")
        return False
    version, earlier = found
    changed = inputs.changed_from(earlier)
    if changed:
        if say:
            console.say(f"changed since version {version.version} of {name}: {', '.join(changed)}")
        return False
    if say:
        verdict = version.tags.get("gate.verdict", "made")
        why = f" ({version.tags.get('gate.reason')})" if verdict == "refused" else ""
        console.say(
            f"nothing to do: data, config and code are those of version {version.version} of "
            f"{name}, which was {verdict}{why}; --force makes it again"
        )
    return True


def _retrain(run: Run, client: MlflowClient, lease: Lease, inputs: Inputs, *, force: bool) -> bool:
    if force or not _is_fitted(run, inputs):
        run_fit(run)
        run.write(RETRAINED, inputs)
    else:
        run.console.say("trained already, when this was interrupted")
    run_evaluate(run)
    run_export(run)
    lease.check()
    release = run_release(run)
    # Last, so that a retraining that was killed before has not taken place.
    with talking_to(release.tracking_uri):
        for key, value in inputs:
            client.set_model_version_tag(run.config.name, release.version, TAG + key, value)
    return release.promoted


def _is_fitted(run: Run, inputs: Inputs) -> bool:
    try:
        return run.read(RETRAINED, Inputs, "retrain") == inputs and (run.path / TRAINING).is_file()
    except RunError:
        return False
