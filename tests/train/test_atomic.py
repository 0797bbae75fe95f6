import errno
from pathlib import Path
from typing import BinaryIO

import pytest

from train.atomic import write_atomically


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: '{file}'"),
        (OSError("cannot write mode F"), "{file}: cannot write mode F"),
    ],
)
def test_a_file_that_cannot_be_written_is_named_with_the_reason_and_stays_as_it_was(
    tmp_path: Path, error: OSError, said: str
) -> None:
    file = tmp_path / "state.pt"
    file.write_bytes(b"before")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(OSError) as told:  # noqa: PT011 - the whole text is compared below
        write_atomically(file, write)
    assert str(told.value).endswith(said.format(file=file))
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]
