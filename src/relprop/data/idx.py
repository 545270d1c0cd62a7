"""Reader for IDX, the file format of MNIST and its relatives."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InvalidInput

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> NDArray[np.generic]:
    """The array in an IDX file, gzipped or not, in the machine's byte order.

    Raises InvalidInput where the file is not IDX or is cut short.
    """
    raw = Path(path).read_bytes()
    content = gzip.decompress(raw) if raw[:2] == _GZIP else raw
    return parse_idx(content, name=str(path))


def parse_idx(content: bytes, *, name: str = "IDX data") -> NDArray[np.generic]:
    """The array in the bytes of an IDX file; `name` is what errors call it."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise InvalidInput(
            f"{name} is not an IDX file: its first bytes are {content[:4].hex() or 'missing'}, "
            "where 0000, a type (08, 09, 0b, 0c, 0d, 0e) and the number of axes are expected"
        )
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise InvalidInput(f"{name} is cut short: its header ends after {len(content)} bytes")
    shape = struct.unpack(f">{axes}I", content[4:start])
    dtype = np.dtype(_TYPES[content[2]])
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise InvalidInput(
            f"{name} is damaged: its header says {shape}, that is {expected} bytes, "
            f"but it has {len(content)}; fetch it again"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
