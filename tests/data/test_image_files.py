"""Folders and archives file by file: the same content from all, nothing hostile from any."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.data import image_files as module
from clustr_tf.data.image_files import read_files
from clustr_tf.run.errors import InputError

FILES = {"train/a/1.png": b"one", "train/b/2.png": b"two", "test/a/3.png": b"three"}
PACK = {
    **{".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress},
    **{".tar.xz": lzma.compress, ".tar.bz2": bz2.compress},
}
TAR_ENDINGS = list(PACK)


def _tar(files, *members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def _zip(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _write(tmp_path, ending, files):
    path = tmp_path / f"data{ending}"
    path.write_bytes(_zip(files) if ending == ".zip" else PACK[ending](_tar(files)))
    return path


def _contents(source):
    return {str(path): content for path, content in read_files(source) if content is not None}


def _refusal(source):
    with pytest.raises(InputError) as raised:
        list(read_files(source))
    assert str(source) in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", [*TAR_ENDINGS, ".zip", ".ZIP"])
def test_an_archive_gives_its_files(tmp_path, ending):
    path = _write(tmp_path, ending.lower(), FILES).rename(tmp_path / f"other{ending}")
    assert _contents(path) == FILES
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was unpacked


@pytest.mark.parametrize("method", [gzip.compress, lzma.compress, bz2.compress, bytes])
def test_an_archive_is_known_by_its_content(tmp_path, method):
    (tmp_path / "data.zip").write_bytes(method(_tar(FILES)))
    assert _contents(tmp_path / "data.zip") == FILES
    (tmp_path / "data.tar.gz").write_bytes(_zip(FILES))
    assert _contents(tmp_path / "data.tar.gz") == FILES


def test_zstandard_is_refused_by_name(tmp_path):
    (tmp_path / "data.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd more")
    assert "Zstandard" in _refusal(tmp_path / "data.tar.zst")


def test_a_link_to_a_folder_above_it_is_not_followed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.png").write_bytes(b"one")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    assert _contents(tmp_path) == {"a/b/1.png": b"one"}


def test_a_folder_gives_what_is_wanted_in_order_and_its_empty_folders(tmp_path):
    for name, content in {**FILES, "raw/x.bin": b"not read"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train" / "empty").mkdir()
    files = list(read_files(tmp_path, lambda path: path.parts[0] != "raw"))
    assert [path for path, _ in files] == sorted(path for path, _ in files)
    contents = {str(path): content for path, content in files if content is not None}
    assert contents == {**FILES, "raw/x.bin": b""}
    folders = {str(path) for path, content in files if content is None}
    assert folders == {"raw", "train", "train/a", "train/b", "train/empty", "test", "test/a"}


@pytest.mark.parametrize("ending", ["", ".tar", ".zip"])
def test_hidden_files_are_left_out(tmp_path, ending):
    hidden = [
        "train/a/Thumbs.db",
        "test/desktop.ini",
        "train/a/.DS_Store",
        "train/a/._1.png",
        "__MACOSX/train/a/1.png",
        "train/.x/1.png",
    ]
    files = {**FILES, **dict.fromkeys(hidden, b"hidden")}
    if ending:
        source = _write(tmp_path, ending, files)
    else:
        source = tmp_path
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
    assert _contents(source) == FILES


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,120}/[a-z]{1,120}", fullmatch=True), st.binary()),
    st.sampled_from([*TAR_ENDINGS, ".zip"]),
)
def test_any_files_come_back(tmp_path_factory, files, ending):
    """Also names so long that a tar file needs extra headers for them."""
    assert _contents(_write(tmp_path_factory.mktemp("archive"), ending, files)) == files


@pytest.mark.parametrize("ending", [*TAR_ENDINGS, ".zip"])
@pytest.mark.parametrize("name", ["../escape.png", "/etc/passwd", "train/../../x", "train\\..\\x"])
def test_paths_that_lead_outside_are_refused(tmp_path, ending, name):
    assert "unsafe path" in _refusal(_write(tmp_path, ending, {**FILES, name: b"x"}))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ["", ".tar", ".zip"])
def test_names_that_would_break_the_line_are_refused(tmp_path, ending):
    name = "train/a/line\nbreak.png"
    if ending:
        source = _write(tmp_path, ending, {**FILES, name: b"x"})
    else:
        source = tmp_path
        (source / name).parent.mkdir(parents=True)
        (source / name).touch()
    assert f"unsafe path: {name!r}" in _refusal(source)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_of_a_tar_file_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("train/a/link.png")
    member.type, member.linkname = kind, "/etc/passwd"
    (tmp_path / "data.tar").write_bytes(_tar(FILES, member))
    assert "link or device: train/a/link.png" in _refusal(tmp_path / "data.tar")


def test_a_link_of_a_zip_file_is_refused(tmp_path):
    member = zipfile.ZipInfo("train/a/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    assert "link or device: train/a/link.png" in _refusal(tmp_path / "data.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_on_what_they_unpack_are_refused(tmp_path, method):
    (tmp_path / "data.zip").write_bytes(_zip(FILES, method))
    assert "must be packed with deflate: train/a/1.png" in _refusal(tmp_path / "data.zip")


def test_an_encrypted_zip_file_is_refused(tmp_path):
    """Bit 0 of the flags, 8 bytes into an entry of the central directory."""
    content = bytearray(_zip(FILES))
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "data.zip").write_bytes(content)
    assert "encrypted file: train/a/1.png" in _refusal(tmp_path / "data.zip")


@pytest.fixture
def small_bounds(monkeypatch):
    """1 MiB a file and 4 MiB an archive, so that small bombs are enough."""
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 2**20)
    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", 2**22)


BOMBS = {
    "one large file": {"train/a/1.png": bytes(2**20 + 1)},
    "one large file that is no image": {"README": bytes(2**21)},
    "many files": {f"train/a/{number}.png": bytes(2**20 - 1) for number in range(5)},
}


@pytest.mark.parametrize("files", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("ending", [*TAR_ENDINGS, ".zip"])
def test_decompression_bombs_are_refused(tmp_path, small_bounds, ending, files):
    assert "at most" in _refusal(_write(tmp_path, ending, files))


@pytest.mark.parametrize("ending", [*TAR_ENDINGS, ".zip"])
def test_as_much_as_the_bounds_allow_is_read(tmp_path, small_bounds, ending):
    """Each file has the largest size; together they are well above what one may have."""
    files = {f"train/a/{number}.png": bytes(2**20) for number in range(3)}
    assert _contents(_write(tmp_path, ending, files)) == files


def test_a_zip_file_that_lies_about_its_size_is_not_unpacked_beyond_it(tmp_path):
    """The size stands 24 bytes into an entry of the central directory; 64 MiB say they are 9 B."""
    content = bytearray(_zip({"train/a/1.png": bytes(2**26)}))
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = (9).to_bytes(4, "little")
    (tmp_path / "data.zip").write_bytes(content)
    tracemalloc.start()
    try:
        assert "cannot be read" in _refusal(tmp_path / "data.zip")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_file_whose_header_is_the_bomb_is_refused(tmp_path, small_bounds, kind):
    """A long name is read as a whole, before there is a member to look at."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 3 * 2**20
    bomb = header.tobuf(tarfile.GNU_FORMAT) + bytes(3 * 2**20) + _tar(FILES)
    (tmp_path / "data.tar.xz").write_bytes(lzma.compress(bomb))
    assert "decompression bomb" in _refusal(tmp_path / "data.tar.xz")


def test_sparse_files_are_refused(tmp_path):
    """They claim holes of any size: 512 bytes in the archive, 2**40 unpacked."""
    member = tarfile.TarInfo("train/a/1.png")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)  # one piece: offset, length
    header[483:495] = (2**40).to_bytes(12, "big")  # the real size ...
    header[483] = 0x80  # ... in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "data.tar").write_bytes(bytes(header) + bytes(512) + _tar(FILES))
    assert "link or device" in _refusal(tmp_path / "data.tar")


@pytest.mark.parametrize("ending", [*TAR_ENDINGS, ".zip"])
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, ending):
    """Also between two members, where tarfile by itself would see the end of the archive."""
    path = _write(tmp_path, ending, FILES)
    content = path.read_bytes()
    # A tar file is padded with zeros behind its files, which it can lose.
    length = 6 * 512 if ending == ".tar" else len(content) - 1
    for kept in {0, 1, 100, 512, 1024, 1536, 2048, length // 3, length // 2, length}:
        path.write_bytes(content[: min(kept, length)])
        assert "cannot be read" in _refusal(path)


def test_a_damaged_header_of_a_tar_file_is_refused(tmp_path):
    content = bytearray(_tar(FILES))
    content[1024] ^= 1  # the second member's name
    (tmp_path / "data.tar").write_bytes(content)
    assert "cannot be read" in _refusal(tmp_path / "data.tar")


@pytest.mark.parametrize(
    "changes",
    [
        {6: 255},  # a version of the format that nobody knows
        {8: 64},  # strong encryption
        {9: 8, 46: 255},  # the name is said to be UTF-8 and is not
        {28: 0},  # the name has no letters
    ],
    ids=["version", "encryption", "name", "no name"],
)
def test_a_damaged_directory_of_a_zip_file_is_refused(tmp_path, changes):
    """Offsets into an entry of the central directory, from the specification of the format."""
    content = bytearray(_zip(FILES))
    entry = content.index(b"PK\1\2")
    for offset, value in changes.items():
        content[entry + offset] = value
    (tmp_path / "data.zip").write_bytes(content)
    assert "cannot be read" in _refusal(tmp_path / "data.zip")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.sampled_from([".tar.gz", ".tar.xz", ".zip"]), st.data())
def test_damage_is_refused_or_does_no_harm(tmp_path_factory, ending, data):
    path = _write(tmp_path_factory.mktemp("archive"), ending, FILES)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        contents = _contents(path)
    except InputError:
        return
    # A zip file has no check sums over names and may lose its last entries' names.
    assert sorted(contents.values()) == sorted(FILES.values())


def test_the_check_sum_behind_the_last_file_is_checked(tmp_path, monkeypatch):
    """With small blocks the archive's end mark is read well before the check sum."""
    monkeypatch.setattr(module, "_BLOCK", 512)
    content = bytearray(gzip.compress(_tar(FILES)))
    content[-8] ^= 1
    (tmp_path / "data.tgz").write_bytes(content)
    assert "cannot be read" in _refusal(tmp_path / "data.tgz")


@pytest.mark.parametrize("name", ["missing", "missing.zip"])
def test_a_missing_source_is_refused(tmp_path, name):
    line = _refusal(tmp_path / name)
    assert line.startswith("config.dataset.data_dir must be a folder or an archive. Received")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.rar").touch()
    assert ".tar.zst, .zip. Received" in _refusal(tmp_path / "data.rar")


def test_a_folder_with_a_pipe_or_a_broken_link_or_a_large_file_is_refused(tmp_path, small_bounds):
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.png")
    assert "must be a file or a folder" in _refusal(tmp_path)
    (folder / "pipe.png").unlink()
    (folder / "link.png").symlink_to(tmp_path / "nowhere")
    assert "must be a file or a folder" in _refusal(tmp_path)
    (folder / "link.png").unlink()
    (folder / "large.png").write_bytes(bytes(2**20 + 1))
    assert "must have at most 1048576 bytes. Received: 1048577" in _refusal(tmp_path)


def test_links_of_a_folder_are_followed(tmp_path):
    (tmp_path / "elsewhere.png").write_bytes(b"one")
    folder = tmp_path / "mine" / "train" / "a"
    folder.mkdir(parents=True)
    (folder / "1.png").symlink_to(Path("../../../elsewhere.png"))
    files = {path: content for path, content in read_files(tmp_path / "mine") if content}
    assert files == {PurePosixPath("train/a/1.png"): b"one"}
