"""The model as KServe knows it, and the truth about whether it is ready."""

from typing import Any

from kserve import Model

from predictor.door import Door
from predictor.errors import NotReadyError, UnknownModelError
from predictor.metrics import Metrics
from predictor.query import shown
from predictor.served import Served, load
from predictor.settings import Settings


class SightlineModel(Model):
    """Loads in the background while the sockets are open already.

    It is ready from the end of loading to the beginning of the shutdown. Requests are answered a
    little longer: until the last that was accepted has its answer.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings.model_name or "")
        self.settings = settings
        self.metrics = metrics
        self.door = Door(settings)
        metrics.upload_bytes.set_function(lambda: self.door.bytes)
        metrics.upload_limit_bytes.set(settings.upload_bytes)
        metrics.admitted_images_limit.set(settings.max_queue)
        metrics.inflight_limit.set(settings.max_requests)
        metrics.connections_limit.set(settings.max_connections)
        metrics.ready.set_function(lambda: bool(self.ready))
        self.served: Served | None = None
        self.draining = False

    def load(self) -> bool:
        """Load and test the model; blocks until it could answer.

        Raises:
            SightlineError: it can never be ready; says why.
        """
        self.served = load(self.settings, self.metrics)
        self.name = self.served.name
        self.ready = not self.draining
        return bool(self.ready)

    def start(self) -> None:
        """Nothing: KServe's own would declare the model ready."""

    def stop(self) -> None:
        """Stop being ready, at once; what is being answered goes on."""
        self.draining = True
        self.ready = False

    async def close(self) -> None:
        self.stop()
        if self.served is not None:
            await self.served.close()

    def identity(self) -> tuple[str, str]:
        return ("", "") if self.served is None else (self.served.name, self.served.version)

    def unready_reason(self) -> str:
        return "the server is stopping" if self.draining else "the model is loading"

    def check_name(self, name: str, version: str | None = None) -> None:
        """Refuse names and versions that are not, or will not be, served here.

        Raises:
            UnknownModelError: names what is served, once that is known.
        """
        if self.name and name != self.name:
            raise UnknownModelError(
                f"model {shown(name)} is not served here; accepted: {self.name}"
            )
        if self.served is not None and version and version != self.served.version:
            raise UnknownModelError(
                f"version {shown(version)} of model {shown(name)} is not served here; "
                f"accepted: {self.served.version}"
            )

    def require(self, name: str, version: str | None = None) -> Served:
        """The served model, by the name in a request.

        Raises:
            UnknownModelError: another model or version is meant.
            NotReadyError: it is still loading.
        """
        self.check_name(name, version)
        if self.served is None:
            raise NotReadyError(self.unready_reason())
        return self.served

    def get_input_types(self) -> list[dict[str, Any]]:
        return [] if self.served is None else list(self.served.metadata["inputs"])

    def get_output_types(self) -> list[dict[str, Any]]:
        return [] if self.served is None else list(self.served.metadata["outputs"])
