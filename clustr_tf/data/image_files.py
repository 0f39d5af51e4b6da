"""Files of a folder or an archive, read into memory one by one; nothing is written to the disk."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clustr_tf.run.errors import InputError

# One file, unpacked: far more than an image of image_decoding.MAX_PIXELS needs.
MAX_FILE_BYTES = 2**26
# Everything an archive unpacks to, also what is not an image.
MAX_ARCHIVE_BYTES = 2**33
ARCHIVES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst"),
    ".zip",
)
# What systems leave in folders, beside names that start with a dot.
_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini", "ehthumbs.db"}
_BLOCK = 2**18
# Separators of other systems, and characters that would break a message of one line.
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DAMAGE = (
    OSError,
    EOFError,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
    # zipfile's answers to an unknown version, a name that is no text, and no name.
    NotImplementedError,
    UnicodeDecodeError,
    IndexError,
)


class File(NamedTuple):
    """A file or folder below the top; the path has no "..", no hidden part and no leading "/"."""

    path: PurePosixPath
    content: bytes | None  # None: a folder


def read_files(source: Path, wanted: Callable[[PurePosixPath], bool] = bool) -> Iterator[File]:
    """Files and folders of a data set; hidden ones, Thumbs.db and the like are left out.

    A folder is read in the order of sorted paths, links are followed; an archive is read once from
    its beginning to its end.

    Args:
        source: a folder, or a zip or tar archive, recognised by its content.
        wanted: paths below the source -> whether the content is read; else it is empty.

    Yields:
        The files and folders with paths relative to the source.

    Raises:
        InputError: one line if the source is missing, damaged or no such archive; if a file is
            larger than `MAX_FILE_BYTES` or an archive than `MAX_ARCHIVE_BYTES`; if a member of an
            archive is a link, a device or encrypted; if a path leads outside.

    Example:
        >>> [file.path for file in read_files(Path("mnist.tar.xz"))]
    """
    _check_source(source)
    try:
        if source.is_dir():
            yield from _folder_files(source, wanted)
        elif _begins(source, b"PK"):
            yield from _zip_files(source)
        else:
            yield from _tar_files(source)
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{source} cannot be read ({' '.join(reason.split())})") from error


def _check_source(source: Path) -> None:
    if not source.exists():
        raise InputError(
            f"config.dataset.data_dir must be a folder or an archive. Received: {str(source)!r}, "
            "which does not exist"
        )
    if not source.is_dir() and not source.name.lower().endswith(ARCHIVES):
        raise InputError(
            f"config.dataset.data_dir must be a folder or end with one of {', '.join(ARCHIVES)}. "
            f"Received: {str(source)!r}"
        )


def _begins(source: Path, signature: bytes) -> bool:
    with source.open("rb") as file:
        return file.read(len(signature)) == signature


def fingerprint(source: Path) -> str:
    """SHA-256 of names, sizes and times of the files that `read_files` reads, or of the archive's.

    Raises:
        InputError: as `read_files`.
    """
    _check_source(source)
    files = folder_paths(source) if source.is_dir() else [PurePosixPath(".")]
    digest = hashlib.sha256(str(source.resolve()).encode())
    for path in files:
        found = source / path
        status = found.stat() if found.exists() else None
        told = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(f"{path}\n{told}\n".encode())
    return digest.hexdigest()


def folder_paths(folder: Path) -> list[PurePosixPath]:
    """Paths below a folder, sorted, without hidden ones; of a link to a folder above it none.

    Raises:
        InputError: if a name cannot be told in one line.
    """
    paths = []
    for root, folders, files in os.walk(folder, followlinks=True):
        above = [Path(root), *Path(root).parents]
        folders[:] = [
            name
            for name in sorted(folders)
            if not (Path(root) / name).is_symlink()
            or (Path(root) / name).resolve() not in [one.resolve() for one in above]
        ]
        paths += [
            _inner_path(folder, (Path(root) / name).relative_to(folder).as_posix())
            for name in [*folders, *files]
        ]
    return sorted(path for path in paths if not _is_hidden(path))


def _folder_files(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[File]:
    for relative in folder_paths(folder):
        path = folder / relative
        if path.is_dir():
            yield File(relative, None)
        elif not wanted(relative):
            yield File(relative, b"")
        else:
            # A pipe would block for ever, and a broken link has nothing to read.
            if not path.is_file():
                raise InputError(f"{path} must be a file or a folder")
            _check_size(str(path), path.stat().st_size)
            yield File(relative, path.read_bytes())


def _zip_files(source: Path) -> Iterator[File]:
    left = MAX_ARCHIVE_BYTES
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            path = _inner_path(source, member.filename)
            # The upper half holds Unix modes; archives from elsewhere have 0 there.
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"{source} has a link or device: {member.filename}")
            if member.flag_bits & 1:
                raise InputError(f"{source} has an encrypted file: {member.filename}")
            # zipfile bounds what it unpacks at once for these two methods only.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{source} must be packed with deflate: {member.filename}")
            _check_size(f"{source}: {member.filename}", member.file_size)
            left -= member.file_size
            if left < 0:
                raise _too_large(source)
            if _is_hidden(path):
                continue
            with archive.open(member) as stream:
                # Asked for no number of bytes, zipfile unpacks more than the claimed size.
                content = stream.read(member.file_size)
            yield File(path, None if member.is_dir() else content)


def _tar_files(source: Path) -> Iterator[File]:
    with _unpacked(source) as unpacked:
        stream = _Bounded(unpacked, source)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, bufsize=_BLOCK) as archive:
            for member in archive:
                stream.start_member()
                path = _inner_path(source, member.name)
                if not (member.isdir() or (member.isfile() and not member.issparse())):
                    raise InputError(f"{source} has a link or device: {member.name}")
                _check_size(f"{source}: {member.name}", member.size)
                content = archive.extractfile(member)
                if not _is_hidden(path):
                    yield File(path, content.read() if content else None)
                # tarfile keeps every header it has seen, which a stream does not need.
                archive.members = []  # type: ignore[attr-defined]
        # Check sums stand at the end, behind the last file.
        while stream.read(_BLOCK):
            pass


def _unpacked(source: Path) -> io.BufferedIOBase:
    if _begins(source, b"\xfd7zXZ\0"):
        return lzma.LZMAFile(source)
    if _begins(source, b"BZh"):
        return bz2.BZ2File(source)
    if _begins(source, b"\x1f\x8b"):
        return gzip.GzipFile(source)
    if _begins(source, b"\x28\xb5\x2f\xfd"):
        raise InputError(f"{source} is packed with Zstandard, which Python cannot read: use xz")
    return source.open("rb")


class _Bounded(io.BufferedIOBase):
    """A stream that ends with an error where a bomb would go on."""

    def __init__(self, stream: io.BufferedIOBase, source: Path) -> None:
        self._stream, self._source = stream, source
        self._left = MAX_ARCHIVE_BYTES
        self.start_member()

    def start_member(self) -> None:
        """From here to the next member lie this one's content and the next one's headers."""
        self._left_of_member = 2 * MAX_FILE_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        content = self._stream.read(size)
        self._left -= len(content)
        self._left_of_member -= len(content)
        if min(self._left, self._left_of_member) < 0:
            raise _too_large(self._source)
        return content


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged header for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "damaged or cut short") from error


def _inner_path(source: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or _UNSAFE.search(name):
        raise InputError(f"{source} has an unsafe path: {name!r}")
    return path


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in _JUNK for part in path.parts)


def _check_size(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise InputError(f"{name} must have at most {MAX_FILE_BYTES} bytes. Received: {size}")


def _too_large(source: Path) -> InputError:
    return InputError(
        f"{source} must unpack to at most {MAX_ARCHIVE_BYTES} bytes and "
        f"{MAX_FILE_BYTES} a file: it looks like a decompression bomb"
    )
