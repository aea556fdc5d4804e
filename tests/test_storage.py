"""Files are whole or not there; damage is noticed."""

import json
import os

import numpy as np
import pytest
from places import small_disk
from safetensors import safe_open

from fastrnn import storage
from fastrnn.errors import RunError, UsageError

ARRAYS = {
    "weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "keys": np.array([1, 2**64 - 1], np.uint64),
    "status": np.array([1, -3], np.int8),
    "flag": np.array([True, False]),
    "number": np.float64(0.1),
    "none": np.zeros((0, 5), np.float32),
}
METADATA = {"cell": "gru", "ids": ["a", "b"], "gate_bias": 1.0, "nothing": None}


@pytest.fixture
def file(tmp_path):
    storage.save_arrays(tmp_path / "file.safetensors", ARRAYS, METADATA)
    return tmp_path / "file.safetensors"


def test_arrays_and_metadata_come_back(file):
    arrays, metadata = storage.load_arrays(file)
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable


def test_strided_transposed_and_big_endian_arrays_keep_their_values(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    given = {"strided": base[::2, ::3], "transposed": base.T, "big": base.astype(">f4")}
    storage.save_arrays(tmp_path / "f", given)
    arrays, metadata = storage.load_arrays(tmp_path / "f")
    assert metadata == {}
    for name, array in given.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_other_tools_can_read_the_file(file):
    with safe_open(file, "numpy") as other:
        np.testing.assert_array_equal(other.get_tensor("weights"), ARRAYS["weights"])
        assert other.metadata()["schema"] == "1"


def test_text_and_objects_are_refused(tmp_path):
    with pytest.raises(UsageError, match="array 'names' must hold booleans, integers or floats"):
        storage.save_arrays(tmp_path / "f", {"names": np.array(["a"])})
    assert os.listdir(tmp_path) == []


def test_every_truncation_is_noticed(file):
    data = file.read_bytes()
    for length in [*range(0, 40, 3), len(data) // 2, len(data) - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(RunError, match="is damaged"):
            storage.load_arrays(file)


def test_every_altered_byte_is_noticed(file):
    data = file.read_bytes()
    for position in range(0, len(data), 7):
        altered = bytearray(data)
        altered[position] ^= 0x10
        file.write_bytes(altered)
        with pytest.raises(RunError, match=r"is damaged|not written by fastrnn|schema version"):
            storage.load_arrays(file)


def test_an_altered_weight_is_reported_by_its_checksum(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="its checksum differs"):
        storage.load_arrays(file)


def test_another_schema_version_is_refused(file, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA_VERSION", 2)
    with pytest.raises(RunError, match="has schema version 1; this fastrnn reads version 2"):
        storage.load_arrays(file)


def test_a_file_from_elsewhere_is_refused(tmp_path):
    header = json.dumps({}).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(RunError, match="was not written by fastrnn"):
        storage.load_arrays(tmp_path / "f")


def test_a_missing_file(tmp_path):
    with pytest.raises(RunError, match=r"could not read .*No such file"):
        storage.load_arrays(tmp_path / "f")


def test_writing_replaces_and_leaves_nothing_beside(tmp_path):
    storage.atomic_write(tmp_path / "f", b"old")
    storage.atomic_write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_a_place_that_does_not_exist(tmp_path):
    with pytest.raises(RunError, match=r"could not write .*choose a place that can be written"):
        storage.atomic_write(tmp_path / "no" / "f", b"")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    storage.atomic_write(tmp_path / "f", b"old")

    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.atomic_write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    with small_disk(tmp_path, "1M") as folder:
        storage.atomic_write(folder / "f", b"old")
        with pytest.raises(RunError, match=r"No space left.*free some space and run the same command again"):
            storage.atomic_write(folder / "f", bytes(2 << 20))
        assert (folder / "f").read_bytes() == b"old"
        assert os.listdir(folder) == ["f"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".f.0123.tmp").write_bytes(b"half")
    (tmp_path / "f").write_bytes(b"whole")
    storage.remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == ["f"]


def test_the_same_content_is_the_same_file_to_the_bit(tmp_path):
    made = set()
    for i in range(12):
        arrays = dict(sorted(ARRAYS.items(), reverse=i % 2 == 1))
        storage.save_arrays(tmp_path / "a.safetensors", arrays, {"cell": "gru"})
        made.add((tmp_path / "a.safetensors").read_bytes())
    assert len(made) == 1
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:  # and other tools read it
        for name in file.keys():
            np.testing.assert_array_equal(file.get_tensor(name), ARRAYS[name])
