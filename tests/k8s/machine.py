"""Runs what a manifest's container runs, with folders of this machine in place of its volumes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .rendered import ROOT, Pod, command_of, environment, render


@dataclass(frozen=True)
class Machine:
    """A place for the pods of one directory of manifests.

    Attributes:
        root: has a folder for each of the containers' volumes, at the same path below it.
        words: of commands and variables that are others here, such as a port.
        more: variables that somebody has added to the manifest's own.
    """

    root: Path
    words: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)

    def mount(self, pod: Pod, directory: Path) -> None:
        """Make a folder for each volume, and put the files of the ConfigMaps into theirs."""
        (container,) = pod.containers
        mounts = {
            each["name"]: self.root / each["mountPath"][1:] for each in container["volumeMounts"]
        }
        for folder in mounts.values():
            folder.mkdir(parents=True, exist_ok=True)
        files = {e["metadata"]["name"]: e["data"] for e in render(directory) if "data" in e}
        for name, folder in mounts.items():
            for file, text in files.get(
                pod.volumes[name].get("configMap", {}).get("name"), {}
            ).items():
                (folder / file).write_text(self.local(text), encoding="utf-8")

    def local(self, text: str) -> str:
        """The same text with the paths and words of this machine."""
        folders = "|".join(sorted(each.name for each in self.root.iterdir()))
        text = re.sub(rf"(?<![\w.])/({folders})\b", rf"{self.root}/\1", text)
        for word, other in self.words.items():
            text = text.replace(word, other)
        return text

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(encoding="utf-8")

    @contextmanager
    def running(self, pod: Pod, index: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """The container's process; killed at the end, if it is still there."""
        program, *arguments = (self.local(word) for word in command_of(pod, index))
        values = environment(pod, index=index)
        home = str(self.root / "tmp")
        image = {"HOME": home, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        here = {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        given = {name: self.local(value) for name, value in values.items()} | dict(self.more)
        with (self.root / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=image | here | given,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
