"""Zip archives, read member by member as streams and never unpacked; what smells of an attack is refused before it is read."""

import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath

from genctl.errors import GenctlError, safe_text

MAX_MEMBERS, MAX_MEMBER, MAX_RATIO, SMALL = 1_000_000, 256 * 2**20, 200, 2**20
MAX_DIRECTORY = 64 * 2**20  # bytes of the table of contents, checked before Python reads it
_END, _END64, _END_SIZE = b"PK\x05\x06", b"PK\x06\x06", 22 + 65535 + 76


def open_zip(path: Path, largest: int = MAX_MEMBER) -> zipfile.ZipFile:
    """The archive, its whole listing checked. Raises GenctlError: permission, data-format, limit."""
    shown = safe_text(path)
    try:
        _check_directory(path, shown)
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise GenctlError("permission", f"{shown} may not be read") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as e:
        raise GenctlError("data-format", f"{shown}: not a zip archive: {safe_text(e)}") from None
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise GenctlError("limit", f"{shown}: {len(members):,} members, limit {MAX_MEMBERS:,}")
    for member in members:
        if reason := _refused(member, largest):
            archive.close()
            raise GenctlError("data-format", f"{shown}: member '{safe_text(member.filename, 80)}' {reason}; nothing of it is used")
    return archive


def files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that are files, by name; what macOS adds is left out."""
    wanted = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    return sorted(wanted, key=lambda m: m.filename)


def _check_directory(path: Path, shown: str) -> None:
    """Reads the end of the file alone: how long does the table of contents say it is?"""
    if not stat.S_ISREG(path.stat().st_mode):
        raise GenctlError("data-format", f"{shown}: not a regular file")
    with path.open("rb") as f:
        size = f.seek(0, 2)
        f.seek(max(0, size - _END_SIZE))
        tail = f.read(_END_SIZE)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise GenctlError("data-format", f"{shown}: not a zip archive, or one that was cut off")
    length = int(struct.unpack_from("<I", tail, at + 12)[0])
    at64 = tail.rfind(_END64)
    if at64 >= 0 and len(tail) >= at64 + 56:
        length = max(length if length != 0xFFFFFFFF else 0, int(struct.unpack_from("<Q", tail, at64 + 40)[0]))
    if length > min(MAX_DIRECTORY, size):
        raise GenctlError("limit", f"{shown}: its table of contents claims {length:,} bytes, limit {min(MAX_DIRECTORY, size):,}")


def _refused(member: zipfile.ZipInfo, largest: int) -> str | None:
    """Why a member is not to be trusted."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":") or ".." in PurePosixPath(name).parts:
        return "points outside the archive"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that is not read here"
    if member.file_size > largest:
        return f"would unpack to {member.file_size:,} bytes, limit {largest:,}"
    if member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
        return f"would unpack to {member.file_size // max(1, member.compress_size):,} times its size, limit {MAX_RATIO}"
    return None
