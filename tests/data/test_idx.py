import gzip
import struct

import numpy as np
import pytest

from relprop.data import parse_idx, read_idx
from relprop.errors import InvalidInput

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, code):
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_arrays_come_back(tmp_path, dtype, packed):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = idx(array, CODES[dtype])
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.dtype(dtype).newbyteorder("=") and found.flags.writeable


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content: content[:-1], "damaged"),
        (lambda content: content + b"0", "damaged"),
        (lambda content: content[:6], "cut short"),
        (lambda content: b"\x89PNG" + content, "not an IDX file"),
        (lambda content: b"", "not an IDX file"),
    ],
)
def test_damaged_files_are_refused(change, message):
    content = idx(np.zeros((2, 3), np.uint8), 8)
    with pytest.raises(InvalidInput, match=message):
        parse_idx(change(content))
