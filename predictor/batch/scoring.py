"""Files through the pipeline, enough of them at once that the engine never waits."""

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from model.image import ImageLimits
from predictor.answer import Answer
from predictor.batch.inputs import name_of
from predictor.batch.results import Row
from predictor.errors import EngineError, NotReadyError, RequestError
from predictor.pipeline import Pipeline
from predictor.query import Query

# Nobody waits for one image of a batch job; this only ends one that is stuck.
_TIMEOUT_S = 3600.0


class Scorer:
    """Turns files into rows.

    Args:
        pipeline: answers.
        class_keys: the K classes.
        limits: bounds on one image.
        overlays: folder for the explanations drawn over the images; None for none.
    """

    def __init__(
        self, pipeline: Pipeline, class_keys: list[str], limits: ImageLimits, overlays: Path | None
    ) -> None:
        self._pipeline = pipeline
        self._columns = [f"p_{key}" for key in class_keys]
        self._limits = limits
        self._overlays = overlays

    @property
    def columns(self) -> list[str]:
        """Of the rows."""
        overlay = [] if self._overlays is None else ["overlay"]
        return ["file", "label", "confidence", "risk", *self._columns, *overlay, "error"]

    async def score(self, files: Iterable[Path], at_once: int) -> AsyncGenerator[Row, None]:
        """A row for each file, in their order, with so many being worked on at a time.

        Raises:
            EngineError: the engine failed, which says nothing about the file.
            NotReadyError: the pipeline was closed.
        """
        waiting: deque[asyncio.Task[Row]] = deque()
        try:
            for file in files:
                waiting.append(asyncio.create_task(self._row(file)))
                if len(waiting) == at_once:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _row(self, file: Path) -> Row:
        row: Row = {"file": name_of(file)}
        try:
            data = await asyncio.to_thread(self._read, file)
            query = Query([data], overlay=self._overlays is not None)
            answers = await self._pipeline.answer(query, time.monotonic() + _TIMEOUT_S)
            row.update(self._said(answers.answers[0]))
            overlay = answers.answers[0].overlay
            if self._overlays is not None and overlay is not None:
                row["overlay"] = await asyncio.to_thread(_keep, self._overlays, file, overlay)
        except (EngineError, NotReadyError):
            raise
        except RequestError as error:
            row["error"] = error.reason
        except OSError:
            row["error"] = "unreadable"
        return row

    def _read(self, file: Path) -> bytes:
        # Of what is too large, one byte more than is accepted is enough to be refused.
        with file.open("rb") as stream:
            return stream.read(self._limits.max_bytes + 1)

    def _said(self, answer: Answer) -> Row:
        probabilities = map(float, answer.probabilities)
        return {
            "label": answer.label,
            "confidence": answer.confidence,
            "risk": answer.risk,
            **dict(zip(self._columns, probabilities, strict=True)),
        }


def _keep(folder: Path, file: Path, overlay: bytes) -> str:
    # Files of one name may come from several folders.
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
    name = f"{name_of(Path(file.stem))}-{digest}.png"
    partial = folder / f".{name}.partial"
    partial.write_bytes(overlay)
    partial.replace(folder / name)
    return name
