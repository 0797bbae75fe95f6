import contextlib
import io
import logging
import struct
import tracemalloc
import warnings
import zlib
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import apply_modality_lut, apply_windowing
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from model import codestream
from model.dicom import _plugin
from model.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    MultiFrameError,
    NonImageError,
    NoPixelsError,
    TransferSyntaxError,
    UnsupportedImageError,
)
from model.greyscale import DicomRule, grey_table
from model.image import DecodeRule, ImageLimits, decode, resize_pixels
from tests.model.dicoms import SECRET, bundled, dataset, dicom, parsed, written

RULE = DecodeRule(width_px=32, height_px=32)
RAMP = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype(np.uint16)
BYTES = np.linspace(0, 255, 40 * 50).reshape(40, 50).astype(np.uint8)


def shown(data: bytes, size: tuple[int, int] = (40, 50)) -> npt.NDArray[np.uint8]:
    """The picture without any resizing: the display of an image within the longest side."""
    display = decode(data, RULE, display_px=4096).display
    assert display is not None
    assert display.shape == (*size, 3)
    return display


def grey(data: bytes, size: tuple[int, int] = (40, 50)) -> npt.NDArray[np.uint8]:
    picture = shown(data, size)
    assert np.array_equal(picture[..., 0], picture[..., 2])
    return picture[..., 0]


def linear(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Low and below to 0, high and above to 255, rounded."""
    return np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255).astype(
        np.uint8
    )


def assert_close(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    """Equal, but for a value halfway between two grey levels."""
    assert np.abs(found.astype(float) - expected).max() <= 1


def test_a_bundle_from_before_dicom_has_the_rule_s_defaults() -> None:
    older = RULE.model_dump(exclude={"dicom"})
    assert DecodeRule.model_validate(older) == RULE
    assert DicomRule().model_dump() == {
        "voi": "first_lut_or_window",
        "without_voi": "percentiles",
        "low_percentile": 0.5,
        "high_percentile": 99.5,
    }


def test_the_network_sees_the_picture_resized_like_any_other() -> None:
    data = dicom(BYTES)
    decoded = decode(data, RULE)
    assert (decoded.width_px, decoded.height_px) == (50, 40)
    assert np.array_equal(decoded.pixels, resize_pixels(np.repeat(BYTES[..., None], 3, 2), RULE))


def test_eight_bits_without_window_are_shown_as_they_are_like_a_png() -> None:
    assert np.array_equal(grey(dicom(BYTES)), BYTES)
    signed = dicom((BYTES.astype(np.int16) - 128).astype(np.int8))
    assert np.array_equal(grey(signed), BYTES)


def test_the_first_window_is_applied_as_the_standard_says() -> None:
    data = dicom(RAMP, BitsStored=12, WindowCenter=[2000, 100], WindowWidth=[1001, 10])
    assert_close(grey(data), linear(RAMP, 1999.5 - 500, 1999.5 + 500))
    exact = dicom(RAMP, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    assert_close(grey(exact), linear(RAMP, 1500, 2500))
    step = grey(dicom(RAMP, WindowCenter=2000, WindowWidth=1))
    assert np.array_equal(step, np.where(RAMP >= 2000, 255, 0))


def test_a_sigmoid_is_a_sigmoid() -> None:
    data = dicom(RAMP, WindowCenter=2000, WindowWidth=800, VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 800))
    assert np.abs(grey(data) - expected).max() <= 0.5
    with pytest.raises(UnsupportedImageError, match="function is 'CUBIC'; accepted: LINEAR"):
        decode(dicom(RAMP, WindowCenter=1, WindowWidth=8, VOILUTFunction="CUBIC"), RULE)


def test_rescale_comes_before_the_window() -> None:
    signed = RAMP.astype(np.int16)
    data = dicom(
        signed, RescaleSlope="2", RescaleIntercept="-1024", WindowCenter=40, WindowWidth=401
    )
    assert_close(grey(data), linear(RAMP * 2.0 - 1024, 39.5 - 200, 39.5 + 200))


def test_monochrome1_is_inverted() -> None:
    plain = dicom(RAMP, WindowCenter=2000, WindowWidth=1001)
    negative = dicom(
        RAMP, WindowCenter=2000, WindowWidth=1001, PhotometricInterpretation="MONOCHROME1"
    )
    difference = grey(plain).astype(int) + grey(negative)
    assert np.abs(difference - 255).max() <= 1


@pytest.mark.parametrize("width", [0, -5, None])
def test_without_a_usable_window_the_percentiles_are_stretched(width: int | None) -> None:
    values = RAMP.copy()
    values[0, :5] = 60000
    elements = {} if width is None else {"WindowCenter": 1, "WindowWidth": width}
    low, high = np.percentile(values, [0.5, 99.5], method="higher")
    assert_close(grey(dicom(values, **elements)), linear(values, low, high))


def test_padding_counts_for_no_percentile_and_a_flat_image_is_black() -> None:
    values = RAMP + np.uint16(1000)
    values[:20] = 0
    kept = values[20:]
    low, high = np.percentile(kept, [0.5, 99.5], method="higher")
    data = dicom(values, PixelPaddingValue=0)
    assert_close(grey(data)[20:], linear(kept, low, high))
    assert grey(dicom(np.full((40, 50), 7, np.uint16))).max() == 0
    assert grey(dicom(np.zeros((40, 50), np.uint16), PixelPaddingValue=0)).max() == 0


def test_the_percentiles_take_little_memory_beside_the_pixels() -> None:
    values = np.tile(RAMP, (50, 40))
    pixels = values.copy()
    grey_table(pixels[:40, :50].copy(), dataset(RAMP), DicomRule())
    tracemalloc.start()
    try:
        table = grey_table(pixels, dataset(RAMP), DicomRule())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * pixels.size
    assert np.array_equal(table, grey_table(RAMP, dataset(RAMP), DicomRule()))


def test_the_percentiles_are_the_rule_s() -> None:
    rule = RULE.model_copy(update={"dicom": DicomRule(low_percentile=0, high_percentile=100)})
    display = decode(dicom(RAMP), rule, display_px=100).display
    assert display is not None
    assert_close(display[..., 0], linear(RAMP, 0, 4095))


@pytest.mark.parametrize("form", ["US", "OW"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_luts_come_in_their_order_and_win_over_rescale_and_window(form: str, syntax: UID) -> None:
    def lut(values: npt.NDArray[np.uint16], first: int, bits: int) -> Dataset:
        item = Dataset()
        item.LUTDescriptor = [len(values), first, bits]
        item["LUTDescriptor"].VR = "US"
        wide = "<u2" if syntax.is_little_endian else ">u2"
        item.LUTData = values.tolist() if form == "US" else values.astype(wide).tobytes()
        item["LUTData"].VR = form
        return item

    modality = (np.arange(4096) // 16).astype(np.uint16)
    voi = np.sqrt(np.linspace(0, 1, 200) * 1023**2).astype(np.uint16)
    made = dataset(RAMP, WindowCenter=5, WindowWidth=10)
    made.ModalityLUTSequence, made.VOILUTSequence = [lut(modality, 0, 8)], [lut(voi, 20, 10)]
    made.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        made.PixelData = RAMP.astype(">u2").tobytes()
    expected = voi[np.clip(modality[RAMP].astype(int) - 20, 0, 199)] / 1023 * 255
    assert_close(grey(written(made)), np.rint(expected))


def test_a_colour_image_keeps_its_colours() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(shown(dicom(colours)), colours)
    planar = dataset(colours, PlanarConfiguration=1)
    planar.PixelData = colours.transpose(2, 0, 1).tobytes()
    assert np.array_equal(shown(written(planar)), colours)
    deep = dicom(colours.astype(np.uint16) * 257)
    assert np.array_equal(shown(deep), colours)
    ycc = np.asarray(Image.fromarray(colours).convert("YCbCr"))
    converted = shown(dicom(ycc, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(converted.astype(int) - colours).max() <= 4


GREY_FILES = [
    "693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "JPGExtended.dcm",
    "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "MR_small.dcm", "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "examples_overlay.dcm",
    "image_dfl.dcm", "dicomdirtests/77654033/CR1/6154", "dicomdirtests/77654033/CT2/17106",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:::pydicom")
@pytest.mark.parametrize("name", GREY_FILES)
def test_pydicom_s_grey_files_are_shown_as_its_own_functions_would(name: str) -> None:
    data, read = bundled(name), parsed(name)
    stored = _reference_pixels(read)
    values = apply_modality_lut(stored, read)
    if "WindowWidth" in read:
        expected = _unit(apply_windowing(values, read), read)
    elif read.BitsStored <= 8:
        expected = stored / (2**read.BitsStored - 1)
    else:
        low, high = np.percentile(values, [0.5, 99.5], method="higher")
        expected = np.clip((values - low) / (high - low), 0, 1)
    if read.PhotometricInterpretation == "MONOCHROME1":
        expected = 1 - expected
    found = grey(data, stored.shape)
    assert np.abs(found - expected * 255).max() <= 1
    assert found.max() > found.min()


def _reference_pixels(read: Dataset) -> npt.NDArray[Any]:
    """Stored values: of JPEG-LS from the uncompressed sibling, else by pydicom itself.

    pydicom prefers its own plugin for JPEG 2000; 12-bit JPEG and lossy JPEG-LS it has from ours.
    """
    if read.file_meta.TransferSyntaxUID.name.startswith("JPEG-LS Lossless"):
        read = parsed("MR_small.dcm")
    pixels: npt.NDArray[Any] = read.pixel_array
    return pixels


def _unit(windowed: npt.NDArray[Any], read: Dataset) -> npt.NDArray[Any]:
    """pydicom's windows end where the stored values do, after the rescale; here at 0 and 1."""
    signed = read.PixelRepresentation
    low = -(2 ** (read.BitsStored - 1)) if signed else 0
    high = 2 ** (read.BitsStored - signed) - 1
    slope, intercept = read.get("RescaleSlope", 1), read.get("RescaleIntercept", 0)
    low, high = low * slope + intercept, high * slope + intercept
    unit: npt.NDArray[Any] = (windowed - low) / (high - low)
    return unit


@pytest.mark.parametrize(
    ("name", "sibling", "close"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm", 0),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
        ("MR_small_expb.dcm", "MR_small.dcm", 0),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", 0),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle.dcm", 1),
        ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_rle.dcm", 4),
        ("SC_rgb_jls_lossy_sample.dcm", "SC_rgb_rle.dcm", 4),
    ],
)
def test_a_compressed_file_shows_what_its_uncompressed_sibling_shows(
    name: str, sibling: str, close: int
) -> None:
    found, expected = decode(bundled(name), RULE), decode(bundled(sibling), RULE)
    assert np.abs(found.pixels.astype(int) - expected.pixels).mean() <= close


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_rgb_color.dcm"])
def test_colour_files_of_pydicom_are_shown_as_its_own_functions_would(name: str) -> None:
    data, read = bundled(name), parsed(name)
    expected = read.pixel_array
    if read.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        expected = (apply_color_lut(expected, read) // 256).astype(np.uint8)
    assert np.array_equal(shown(data, expected.shape[:2]), expected)


def test_jpeg_2000_in_its_own_file_format_is_read() -> None:
    pixels = decode(bundled("GDCMJ2K_TextGBR.dcm"), RULE).pixels
    assert pixels.max() > 200
    assert len(np.unique(pixels)) > 20


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("examples_ybr_color.dcm", MultiFrameError, "Ultrasound Multi-frame .* has 30 frames"),
        ("SC_rgb_rle_2frame.dcm", MultiFrameError, "has 2 frames; exactly one"),
        ("rtdose_1frame.dcm", NonImageError, "RT Dose Storage is not an image"),
        ("liver_1frame.dcm", NonImageError, "Segmentation Storage is not an image"),
        ("rtplan.dcm", NonImageError, "RT Plan Storage is not an image: it has no pixel data"),
        ("test-SR.dcm", NonImageError, "Comprehensive SR Storage is not an image"),
        ("waveform_ecg.dcm", NonImageError, "12-lead ECG Waveform Storage is not an image"),
        ("dicomdirtests/DICOMDIR", NonImageError, "no pixel data"),
        ("TINY_ALPHA", NoPixelsError, "CT Image Storage has no pixel data"),
        ("SC_rgb_rle_32bit.dcm", UnsupportedImageError, "32 bits allocated .* accepted: 8, 16"),
        ("MR_truncated.dcm", CorruptImageError, r"Explicit VR Little Endian\) is cut short"),
        ("SC_rgb_small_odd.dcm", ImageTooSmallError, "3 x 3 pixels"),
        ("meta_missing_tsyntax.dcm", CorruptImageError, "no transfer syntax"),
        ("no_meta.dcm", UnsupportedImageError, "not a JPEG, PNG or DICOM file"),
    ],
)
def test_what_is_no_single_image_is_refused_by_name(
    name: str, kind: type[ImageError], message: str
) -> None:
    if name == "TINY_ALPHA":
        name = "dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000/IM000000"
    with pytest.raises(kind, match=message):
        decode(bundled(name), RULE)


@pytest.mark.parametrize(
    ("elements", "kind", "message"),
    [
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, UnsupportedImageError, "1 bits all"),
        ({"PhotometricInterpretation": "HSV"}, UnsupportedImageError, "interpretation 'HSV'; acc"),
        ({"PhotometricInterpretation": "RGB"}, CorruptImageError, "1 samples per pixel do not"),
        ({"BitsStored": 17}, CorruptImageError, "not what its header says"),
        ({"Rows": 41}, CorruptImageError, "cut short"),
        ({"RescaleSlope": "0", "RescaleIntercept": "1"}, CorruptImageError, "rescale slope"),
        ({"NumberOfFrames": 2}, MultiFrameError, "Digital X-Ray .* has 2 frames"),
        ({"PixelData": b""}, CorruptImageError, "cut short"),
    ],
)
def test_an_oddity_is_refused_saying_what_it_is(
    elements: dict[str, Any], kind: type[ImageError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        decode(dicom(RAMP, **elements), RULE)
    assert SECRET not in str(caught.value)


def test_an_encapsulated_document_is_refused_by_name() -> None:
    made = dataset(BYTES, SOPClassUID=EncapsulatedPDFStorage)
    del made.PixelData, made.Rows
    with pytest.raises(NonImageError, match="Encapsulated PDF Storage is not an image"):
        decode(written(made), RULE)


def test_an_unknown_transfer_syntax_is_named() -> None:
    made = dataset(BYTES)
    made.PixelData = encapsulate([b"\0" * 64])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    with pytest.raises(TransferSyntaxError, match="MPEG2 Main Profile / Main Level is not decoded"):
        decode(written(made), RULE)


def test_limits_hold_on_the_header_before_any_pixel_is_decoded() -> None:
    small = ImageLimits(max_pixels=1999)
    with pytest.raises(ImageTooLargeError, match=r"50 x 40 = 2,000 pixels; at most 1,999"):
        decode(dicom(BYTES), RULE, small)
    with pytest.raises(ImageTooLargeError, match=r"65535 x 65535 = 4,294,836,225 pixels"):
        decode(dicom(BYTES, Rows=65535, Columns=65535), RULE)


def test_a_deflated_bomb_is_not_inflated() -> None:
    bomb = dataset(np.zeros((6000, 6000), np.uint8))
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = written(bomb)
    assert len(data) < 100_000
    decode(data, RULE, ImageLimits(max_bytes=40_000_000))
    with pytest.raises(ImageTooLargeError, match="more than 1,000,000 bytes when inflated"):
        decode(data, RULE, ImageLimits(max_bytes=1_000_000))


def test_a_damaged_deflated_file_is_corrupt() -> None:
    made = dataset(BYTES)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = bytearray(written(made))
    data[-200:-100] = b"\xff" * 100
    with pytest.raises(CorruptImageError, match=r"cannot be inflated|cut short|unreadable"):
        decode(bytes(data), RULE)


def encapsulated(frame: bytes, syntax: UID, **elements: Any) -> bytes:
    made = dataset(BYTES, **elements)
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    return written(made)


def test_an_rle_segment_never_unpacks_to_more_than_its_plane() -> None:
    header = struct.pack("<16L", 1, 64, *[0] * 14)
    bomb = header + b"\x81\0" * 4_000_000
    with pytest.raises(CorruptImageError, match=r"RLE Lossless\) is cut short, or is not what"):
        decode(encapsulated(bomb, RLELossless), RULE)


@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm"]
)
def test_a_stream_of_another_size_than_the_file_states_is_not_decoded(name: str) -> None:
    read = parsed(name)
    read.Rows -= 1
    with pytest.raises(CorruptImageError, match="not what its header says"):
        decode(written(read), RULE)


def larger(syntax: UID) -> bytes:
    """A small stream of a picture that is larger than what :func:`encapsulated` states."""
    pixels = np.zeros((4000, 4000), np.uint8)
    if syntax == RLELossless:
        return struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * (pixels.size // 128)
    if syntax in codestream.JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k"))
    if syntax in codestream.JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(pixels))
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True))
    buffer = io.BytesIO()
    # libjpeg holds all of a progressive picture's coefficients at once.
    Image.fromarray(pixels).save(buffer, format="JPEG", progressive=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [each for each in AllTransferSyntaxes if _plugin(each)],
    ids=lambda syntax: syntax.keyword,
)
def test_no_decoder_sees_a_picture_larger_than_the_file_states(
    syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encapsulated(larger(syntax), syntax)
    seen: list[object] = []
    for owner, name in (
        (imagecodecs, "jpeg8_decode"),
        (imagecodecs, "jpegls_decode"),
        (imagecodecs, "jpeg2k_decode"),
        (ImageFile.ImageFile, "load"),
    ):
        monkeypatch.setattr(owner, name, lambda *each, **_: seen.append(each))
    with pytest.raises(CorruptImageError, match="not what its header says"):
        decode(data, RULE)
    assert not seen


def test_a_lossless_jpeg_that_ends_early_is_corrupt_not_half_grey() -> None:
    read = parsed("SC_rgb_jpeg_gdcm.dcm")
    frame = next(generate_frames(read.PixelData, number_of_frames=1))
    read.PixelData = encapsulate([frame[: len(frame) // 2]])
    assert read.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    with pytest.raises(CorruptImageError, match="cut short"):
        decode(written(read), RULE)


QUOTED = ("RescaleSlope", "WindowCenter", "NumberOfFrames", "RescaleIntercept")


@pytest.mark.parametrize("keyword", QUOTED)
def test_what_stands_where_a_number_should_is_not_quoted(
    keyword: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = {"RescaleSlope": "1", "RescaleIntercept": "0", "WindowCenter": 9, "WindowWidth": 9}
    data = dicom(BYTES, **{**numbers, keyword: "12345678"}).replace(b"12345678", b"DOE^JANE")
    with caplog.at_level(logging.DEBUG), pytest.raises(CorruptImageError) as caught:
        decode(data, RULE)
    out, err = capfd.readouterr()
    assert "DOE" not in str(caught.value) + caplog.text + out + err


def test_nothing_of_the_patient_is_warned_of_logged_or_said(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    made = dataset(BYTES)
    made.PatientBirthDate = "19700101"
    data = written(made)
    # Values that pydicom would complain of, quoting them.
    data = data.replace(b"19700101", b"JANE?DOE").replace(b"PX47", b"\xff\xfeDO")
    with caplog.at_level(logging.DEBUG):
        decode(data, RULE)
        with pytest.raises(ImageError) as caught:
            decode(data[:-1000], RULE)
    assert not caplog.records
    assert not recwarn.list
    assert "DOE" not in str(caught.value)
    assert caught.value.__cause__ is None
    with warnings.catch_warnings(record=True) as quoted:
        warnings.simplefilter("always")
        dcmread(io.BytesIO(data)).PatientBirthDate  # noqa: B018
    assert not quoted or "JANE" in str(quoted[0].message)


FUZZED = [
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm",
    "SC_rgb_jpeg_gdcm.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_dcmtk.dcm", "image_dfl.dcm",
    "dicomdirtests/77654033/CR1/6154",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_give_pixels_or_an_image_error(data: st.DataObject) -> None:
    original = bytearray(bundled(data.draw(st.sampled_from(FUZZED))))
    # Half of the damage where the header is, half anywhere.
    for _ in range(data.draw(st.integers(1, 6))):
        end = data.draw(st.sampled_from([min(2000, len(original)), len(original)]))
        position = data.draw(st.integers(132, end - 1))
        original[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del original[data.draw(st.integers(132, len(original))) :]
    with contextlib.suppress(ImageError):
        decoded = decode(bytes(original), RULE, ImageLimits(max_pixels=1_000_000))
        assert decoded.pixels.shape == (32, 32, 3)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_after_the_preamble_are_refused(rest: bytes, deflated: bool) -> None:
    if deflated:
        meta = written(dataset(BYTES))
        start = meta.index(b"1.2.840.10008.1.2.1\0")
        meta = meta[:start] + b"1.2.840.10008.1.2.1.99"[:20] + meta[start + 20 : 400]
        rest = meta[132:] + zlib.compress(rest)
    with pytest.raises(ImageError):
        decode(bytes(128) + b"DICM" + rest, RULE)
