"""Files of a `multipart/form-data` request. They stay in memory: images never touch the disk."""

from collections.abc import AsyncGenerator, Mapping

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from predictor.errors import MalformedRequestError, TooLargeError
from predictor.protocol.v1 import OPTIONS

_TEXT_FIELDS = OPTIONS


class _InMemoryParser(MultiPartParser):
    # The body's own limit bounds it; the library would spill over to a temporary file.
    spool_max_size = 1 << 40


async def read_form(
    headers: Headers, chunks: AsyncGenerator[bytes, None], max_files: int
) -> tuple[list[bytes], Mapping[str, str]]:
    """The files' contents in their order, and the text fields.

    Raises:
        MalformedRequestError: it is no form, or a text field is unknown.
        TooLargeError: it has many more files than that.
        RequestError: whatever `chunks` raises.
    """
    parser = _InMemoryParser(
        headers, chunks, max_files=max_files + 1, max_fields=len(_TEXT_FIELDS) + 1
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooLargeError(
                f"the request has more than {max_files} images; at most {max_files} are accepted "
                "in one request"
            ) from None
        raise MalformedRequestError(f"the form cannot be read: {error.message}") from None
    files: list[bytes] = []
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append(await value.read())
            await value.close()
        elif name in _TEXT_FIELDS:
            texts[name] = value
        else:
            raise MalformedRequestError(
                f"form field {name[:80]!r} is unknown; accepted: files of any name, "
                f"{', '.join(_TEXT_FIELDS)}"
            )
    return files, texts
