"""The step `export`: every artefact, checked, in one bundle."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from model.bundle import Bundle, write_bundle
from model.explain import ExplainedClassifier
from model.manifest import (
    GRAPH_INT8,
    GRAPH_ONNX,
    GRAPH_TORCHSCRIPT,
    REFERENCE,
    Architecture,
    Difference,
    FileEntry,
    Manifest,
    Precision,
    Quantisation,
    Tolerance,
)
from train.atomic import write_text
from train.export import (
    LARGEST_CAM_DIFFERENCE,
    ExportError,
    autograd_cam,
    check_parity,
    compare,
    onnx_answers,
    reference_images,
    to_onnx,
    to_torchscript,
)
from train.findings import EVALUATION, Evaluation, Export
from train.inference import Answers, answers_of
from train.quantize import judge, quantise, reference_difference, tolerance
from train.report import REPORT_FILES, write_report
from train.run import Run
from train.training import Training, read_training

REPORT = "report"
_PARITY_IMAGES = 32
# Rounding between engines and CPUs; an FP32 engine that is further off computes something else.
FP32_TOLERANCE = Tolerance(probabilities=1e-3, cam=1e-2)


def run_export(run: Run) -> Bundle:
    """Export the best checkpoint of a run as a bundle.

    Raises:
        ExportError: an exported graph does not answer as the network does.
        ExplainError: the network cannot be explained in closed form.
    """
    training = read_training(run)
    evaluation = run.read(EVALUATION, Evaluation, "evaluate")
    with run.tracked() as tracker:
        maker = _Maker(run, training, evaluation)
        bundle = write_bundle(run.bundle_path, maker.fill, maker.describe)
        tracker.log_metrics(
            {f"parity/{name}": diff.probabilities for name, diff in maker.parity.items()}
            | {"parity/cam": maker.parity["autograd"].cam}
        )
        tracker.set_tags({"int8": maker.quantisation.reason, "bundle_sha256": bundle.digest})
        # The report of the run now tells of the export, too.
        for name in (EVALUATION, *REPORT_FILES):
            text = (bundle.path / REPORT / name).read_text(encoding="utf-8")
            tracker.log_files(run.write(name, text))
    for name, diff in maker.parity.items():
        run.console.say(
            f"{name} against eager: probabilities {diff.probabilities:.1e}, CAM {diff.cam:.1e}"
        )
    verdict = "shipped" if maker.quantisation.shipped else "dropped"
    run.console.say(f"INT8 {verdict}: {maker.quantisation.reason}")
    return bundle


class _Maker:
    """Fills a bundle's directory and remembers what it measured for the manifest."""

    def __init__(self, run: Run, training: Training, evaluation: Evaluation) -> None:
        self._run, self._training, self.evaluation = run, training, evaluation
        self._graph = ExplainedClassifier(run.network(), evaluation.temperature).eval()
        self._cam_size = (0, 0)
        self._tolerance: dict[Precision, Tolerance] = {"fp32": FP32_TOLERANCE}
        self.parity: dict[str, Difference] = {}
        self.quantisation = Quantisation(shipped=False, reason="export.int8 is false")

    def fill(self, directory: Path) -> None:
        run, rule = self._run, self._run.config.data.decode
        data, test = run.data, run.indices("test")
        images = data.images[test]
        eager = answers_of(self._graph, images)
        self._cam_size = (eager.cam.shape[2], eager.cam.shape[3])
        few = Answers(*(part[:_PARITY_IMAGES] for part in eager))

        traced = to_torchscript(self._graph, rule, directory / GRAPH_TORCHSCRIPT)
        to_onnx(self._graph, rule, directory / GRAPH_ONNX)
        found = {
            "torchscript": compare(answers_of(traced, images[:_PARITY_IMAGES]), few),
            "onnx": compare(onnx_answers(directory / GRAPH_ONNX, images[:_PARITY_IMAGES]), few),
        }
        self.parity = {name: check_parity(name, diff) for name, diff in found.items()}
        self.parity["autograd"] = self._check_cam(
            compare(few, autograd_cam(self._graph, images[:_PARITY_IMAGES]))
        )

        reference = self._write_reference(directory / REFERENCE)
        if run.config.export.int8:
            self._quantise(directory, reference)
        self.evaluation = self.evaluation.model_copy(
            update={"export": Export(quantisation=self.quantisation, parity=self.parity)}
        )
        report = directory / REPORT
        report.mkdir()
        write_report(report, run, self.evaluation, eager)
        write_text(report / EVALUATION, self.evaluation.model_dump_json(indent=2) + "\n")

    def describe(self, files: dict[str, FileEntry]) -> Manifest:
        config = self._run.config
        return Manifest(
            name=config.name,
            created=datetime.now(UTC).replace(microsecond=0),
            classes=self._run.data.classes,
            decode=config.data.decode,
            architecture=Architecture(
                name=config.model.architecture,
                options=config.model.options,
                explained_layer=self._graph.classifier.explained_layer,
                cam_height=self._cam_size[0],
                cam_width=self._cam_size[1],
            ),
            temperature=self.evaluation.temperature,
            risk=config.risk,
            tolerance=self._tolerance,
            parity=self.parity,
            quantisation=self.quantisation,
            metrics=self.evaluation.metrics,
            provenance=self._training.provenance,
            files=files,
        )

    def _check_cam(self, found: Difference) -> Difference:
        if not found.cam <= LARGEST_CAM_DIFFERENCE:
            raise ExportError(
                f"the closed-form CAM differs from autograd's by {found.cam:.2e} of its largest "
                f"value; at most {LARGEST_CAM_DIFFERENCE:.0e} is accepted"
            )
        return found

    def _write_reference(self, file: Path) -> tuple[np.ndarray, Answers]:
        data, config = self._run.data, self._run.config
        train = self._run.indices("train")
        images = reference_images(
            data.images[train],
            data.labels[train],
            config.export.reference_images,
            config.export.averaged_images,
            config.seed,
        )
        answers = answers_of(self._graph, images)
        np.savez_compressed(file, image=images, **answers._asdict())
        return images, answers

    def _quantise(self, directory: Path, reference: tuple[np.ndarray, Answers]) -> None:
        run = self._run
        data, export = run.data, run.config.export
        train, test = run.indices("train"), run.indices("test")
        chosen = np.random.default_rng(run.config.seed).permutation(train)
        calibration = data.images[np.sort(chosen[: export.calibration_images])]
        fp32, int8 = directory / GRAPH_ONNX, directory / GRAPH_INT8
        quantise(fp32, int8, calibration)
        self.quantisation = judge(
            fp32, int8, data.images[test], data.labels[test], export.max_f1_drop
        )
        if self.quantisation.shipped:
            self._tolerance["int8"] = tolerance(reference_difference(int8, *reference))
        else:
            int8.unlink()
