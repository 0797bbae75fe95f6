"""Groups from the PatientID of DICOM files: read only where that is asked for, kept as a hash."""

import hashlib
import hmac
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.dicom import MAGIC, MAGIC_AT
from train.data.sample import Sample, refuse

# An ID of a few digits can be found again by trial from a hash without a key.
KEY_VARIABLE = "SIGHTLINE_PATIENT_KEY"
_LETTERS = 16


def grouped_by_patient(root: Path, samples: Sequence[Sample]) -> list[Sample]:
    """The samples with the patients of DICOM files as groups, unless a table has told groups.

    Args:
        root: folder of the files.
        samples: N samples; those of other formats stay as they are.

    Raises:
        DataError: DICOM files have no PatientID; lists them.
    """
    key = os.environ.get(KEY_VARIABLE, "").encode()
    found, without = [], []
    for sample in samples:
        known = sample.group != sample.file or not _is_dicom(root / sample.file)
        patient = None if known else _patient_id(root / sample.file)
        if not known and not patient:
            without.append(sample.file)
        if patient:
            digest = hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()
            sample = replace(sample, group=f"patient-{digest[:_LETTERS]}")
        found.append(sample)
    refuse(without, "without a PatientID, which data.group_from=dicom asks for")
    return found


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False  # told as unreadable when the images are read


def _patient_id(file: Path) -> str:
    from pydicom import dcmread

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its warnings quote elements
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            return str(header.get("PatientID") or "").strip()
        except Exception:  # noqa: BLE001 - a parser on foreign bytes; its messages may quote them
            return ""
