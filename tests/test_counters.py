"""Random numbers: known answers, the layout of the counter, distributions."""

import hashlib

import numpy as np
import oracle
import pytest
import tolerances
from scipy import stats
from test_oracle import PHILOX

from fastrnn import counters
from fastrnn.counters import Stream, network_key, philox4x32, stream

KEY = 0x0123456789ABCDEF


def words(s, count):
    out = np.empty(count, np.uint32)
    counters.words(s, out)
    return out


def floats(fill, s, count):
    out = np.empty(count, np.float32)
    fill(s, out)
    return out


@pytest.mark.parametrize(("counter", "key", "expected"), PHILOX)
def test_philox_known_answers(counter, key, expected):
    assert philox4x32(counter, key) == expected


def test_philox_against_oracle_on_random_counters():
    rng = np.random.default_rng(0)
    for _ in range(50):
        numbers = [int(v) for v in rng.integers(0, 2**32, 6)]
        assert philox4x32(numbers[:4], numbers[4:]) == oracle.philox4x32(numbers[:4], numbers[4:])


@pytest.mark.parametrize("count", [1, 3, 4, 5, 31, 64])
def test_words_are_blocks_of_the_counter(count):
    """Counter (element // 4, trial, iteration, purpose), key low half first; any length."""
    got = words(stream(KEY, counters.VALIDATION, iteration=7, trial=9), count)
    expected = [
        word
        for block in range((count + 3) // 4)
        for word in oracle.philox4x32((block, 9, 7, counters.VALIDATION), (KEY & 0xFFFFFFFF, KEY >> 32))
    ]
    assert got.tolist() == expected[:count]


def test_each_part_of_a_stream_changes_its_words():
    base = dict(key=KEY, purpose=counters.TRAINING, iteration=1, trial=2)
    changes = [
        {},
        {"key": KEY + 1},
        {"key": KEY + 2**32},
        {"purpose": counters.WEIGHTS},
        {"iteration": 2},
        {"trial": 1},
    ]
    drawn = {tuple(words(stream(**(base | change)), 8).tolist()) for change in changes}
    assert len(drawn) == len(changes)


def test_stream_keeps_the_key_and_wraps_the_rest():
    assert stream(2**64 - 1, 1, iteration=2**32 + 5, trial=3) == Stream(2**64 - 1, 1, 5, 3)


def test_uniforms_are_the_top_24_bits():
    s = stream(KEY, counters.TRAINING)
    got = floats(counters.uniforms, s, 1001)
    np.testing.assert_array_equal(got, (words(s, 1001) >> 8).astype(np.float64) / 2**24)
    assert got.dtype == np.float32
    assert got.min() >= 0.0
    assert got.max() < 1.0


def test_uniforms_are_uniform():
    sample = floats(counters.uniforms, stream(KEY, counters.TRAINING, 1), 200_000)
    assert stats.kstest(sample, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("count", [1, 2, 7, 64, 10_001])
def test_normals_are_box_and_muller(count):
    """Against the same words in float64: radius from word i, angle from word i + half."""
    s = stream(KEY, counters.TRAINING, 2)
    half = (count + 1) // 2
    raw = words(s, 2 * half).astype(np.int64)
    radius = np.sqrt(-2.0 * np.log(((raw[:half] >> 9) + 0.5) / 2**23))
    turns = (((raw[half:] & 0x3FFFFFFF) >> 8) / 2**22 - 0.5) / 4 + (raw[half:] >> 30) / 4
    expected = np.concatenate([radius * np.cos(2 * np.pi * turns), radius * np.sin(2 * np.pi * turns)])
    error = np.abs(floats(counters.normals, s, count) - expected[:count])
    assert np.all(error <= tolerances.NORMALS * np.tile(radius, 2)[:count])


def test_normals_are_normal():
    sample = floats(counters.normals, stream(KEY, counters.TRAINING, 3), 200_000).astype(np.float64)
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    assert abs(sample.mean()) < 4 / np.sqrt(sample.size)
    assert abs(sample.var() - 1) < 4 * np.sqrt(2 / sample.size)
    assert abs(stats.kurtosis(sample)) < 4 * np.sqrt(24 / sample.size)
    halves = sample.reshape(2, -1)
    assert abs(np.corrcoef(halves)[0, 1]) < 4 / np.sqrt(halves.shape[1])


def test_neighbouring_streams_are_uncorrelated():
    """Trials of one iteration, iterations of one network, networks with neighbouring keys."""
    size = 4096
    rows = [stream(KEY, 1, 0, b) for b in range(8)] + [stream(KEY, 1, it) for it in range(1, 8)]
    rows += [stream(KEY + i, 1) for i in range(1, 8)]
    sample = np.array([floats(counters.uniforms, s, size) for s in rows], np.float64)
    correlation = np.corrcoef(sample) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(size)


def test_network_key_is_a_known_digest():
    """Pinned: a changed key would silently change every population ever drawn."""
    text = "\x1f".join(["0", "'flipflop'", "'gru'", "'tanh'", "64", "1e-05", "3"])
    expected = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    assert network_key(0, "flipflop", "gru", "tanh", 64, 1e-5, 3) == expected


def test_network_key_sees_values_not_their_numpy_types():
    """A value that went through an array or a table names the same network."""
    parts = (0, "flipflop", "gru", "tanh", np.int64(64), np.float64(1e-5), np.int32(3))
    assert network_key(*parts) == network_key(0, "flipflop", "gru", "tanh", 64, 1e-5, 3)


def test_network_keys_do_not_collide():
    keys = {network_key(0, cell, n, seed) for cell in oracle.CELLS for n in (64, 128) for seed in range(200)}
    assert len(keys) == len(oracle.CELLS) * 2 * 200
    assert network_key("ab", "c") != network_key("a", "bc")
    assert network_key("1") != network_key(1)
