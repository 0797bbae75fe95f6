"""DICOM files, made by pydicom or shipped with it."""

import io
from pathlib import Path
from typing import Any

import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

SECRET = "DOE^JANE"


def dataset(pixels: npt.NDArray[Any], **elements: Any) -> Dataset:
    """A radiograph of these stored values, [rows, columns] or [rows, columns, 3]."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = generate_uid()
    made.PatientName = SECRET
    # Not to be found by chance in an ID or a hash.
    made.PatientID = "PX47"
    made.Modality = "DX"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    made["PixelData"].VR = "OW"
    return made


def written(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: npt.NDArray[Any], **elements: Any) -> bytes:
    return written(dataset(pixels, **elements))


def bundled(name: str) -> bytes:
    """A file of pydicom's own tests; never downloaded."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path).read_bytes()


def parsed(name: str) -> Dataset:
    """The same, read by pydicom."""
    return dcmread(io.BytesIO(bundled(name)))
