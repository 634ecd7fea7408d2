"""Text files are UTF-8; of others the place of the first wrong byte is told."""

from __future__ import annotations

from pathlib import Path

from fedlt.data.coding import refuse


def check_utf8(path: Path) -> None:
    """Raise `ScenarioError` with the line where a file holds bytes that are no UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                told = f"{path} is not UTF-8: line {number} has the byte 0x{line[error.start]:02x}"
                raise refuse(f"{told}; convert the file (iconv -f latin1 -t utf-8, if it is Latin-1)") from error


def read_text(path: Path) -> str:
    """What a file says, without a byte order mark. Raises `ScenarioError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        check_utf8(path)
        raise
    except OSError as error:
        raise refuse(f"{path} cannot be read: {error.strerror}") from error
