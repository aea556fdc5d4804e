"""Counter-based random numbers: Philox4x32-10, the same integers on every engine.

A draw is a pure function of (key, purpose, iteration, trial, element): nothing is carried from one draw to the next,
so trials don't depend on grouping, order or threads, and a resumed run needs no generator state.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); constants from there.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from .compiled import compiled

WEIGHTS, TRAINING, VALIDATION, PROBE, NOISE = range(5)

U64 = np.uint64
LOW_32 = U64(0xFFFFFFFF)


class Stream(NamedTuple):
    """Names one stream of random words; the 128-bit counter is (element // 4, trial, iteration, purpose)."""

    key: np.uint64
    purpose: np.uint64
    iteration: np.uint64
    trial: np.uint64


def stream(key: int, purpose: int, iteration: int = 0, trial: int = 0) -> Stream:
    """A `Stream` from Python integers; each but the key is taken modulo 2^32."""
    return Stream(U64(key), *(U64(v & 0xFFFFFFFF) for v in (purpose, iteration, trial)))


@compiled
def substream(stream, index):
    """A further stream of the same trial, independent of the others; index from 1 to 2^24 - 1."""
    return Stream(stream.key, stream.purpose | (U64(index) << U64(8)), stream.iteration, stream.trial)


def network_key(*parts) -> int:
    """64-bit key from the parts' text: equal parts give equal keys, others differ but for one chance in 2^64.

    >>> network_key(0, "flipflop", "gru", "tanh", 64, 1e-5, 3) == network_key(0, "flipflop", "gru", "tanh", 64, 1e-5, 4)
    False
    """
    plain = (part.item() if isinstance(part, np.generic) else part for part in parts)
    text = "\x1f".join(repr(part) for part in plain)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


@compiled(inline=True)
def philox_block(key0, key1, c0, c1, c2, c3):
    """Ten rounds of Philox4x32 on one counter; all arguments and results are uint64 holding 32 bits."""
    for _ in range(10):
        p0 = c0 * U64(0xD2511F53)
        p1 = c2 * U64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> U64(32)) ^ c1 ^ key0,
            p1 & LOW_32,
            (p0 >> U64(32)) ^ c3 ^ key1,
            p0 & LOW_32,
        )
        key0 = (key0 + U64(0x9E3779B9)) & LOW_32
        key1 = (key1 + U64(0xBB67AE85)) & LOW_32
    return c0, c1, c2, c3


def philox4x32(counter, key) -> tuple[int, int, int, int]:
    """Philox4x32-10 of a counter of four and a key of two 32-bit words.

    >>> [hex(w) for w in philox4x32((0, 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    words = philox_block(U64(key[0]), U64(key[1]), *(U64(c) for c in counter))
    return tuple(int(w) for w in words)


@compiled
def words(stream, out):
    """Fill `out` (any length) uint32 with the stream's first words; block b of the counter gives 4b to 4b + 3."""
    key0 = stream.key & LOW_32
    key1 = stream.key >> U64(32)
    blocks = out.shape[0] // 4
    for b in range(blocks):
        w0, w1, w2, w3 = philox_block(key0, key1, U64(b), stream.trial, stream.iteration, stream.purpose)
        out[4 * b] = w0
        out[4 * b + 1] = w1
        out[4 * b + 2] = w2
        out[4 * b + 3] = w3
    if out.shape[0] % 4:
        rest = philox_block(key0, key1, U64(blocks), stream.trial, stream.iteration, stream.purpose)
        for j in range(out.shape[0] - 4 * blocks):
            out[4 * blocks + j] = rest[j]


@compiled
def uniforms(stream, out):
    """Fill `out` (any length) float32 with the stream's uniforms on [0, 1): the top 24 bits of each word."""
    raw = np.empty(out.shape[0], np.uint32)
    words(stream, raw)
    for i in range(out.shape[0]):
        out[i] = np.float32(raw[i] >> np.uint32(8)) * np.float32(2.0**-24)


@compiled
def normals(stream, out):
    """Fill `out` (any length) float32 with the stream's standard normals (Box and Muller, at most 5.8).

    With `half` = half of the length, rounded up, elements i and i + half come from words i (radius) and i + half
    (angle): the angle is a quarter turn theta in [-pi/4, pi/4) from 22 bits, turned by its top two bits.
    Errors are at most 3e-7 relative to the larger of the pair.
    """
    half = (out.shape[0] + 1) // 2
    raw = np.empty(2 * half, np.uint32)
    words(stream, raw)
    mantissa = np.empty(half, np.float32)
    bits = mantissa.view(np.int32)
    exponent = np.empty(half, np.int32)
    for i in range(half):
        mantissa[i] = (np.float32(raw[i] >> np.uint32(9)) + np.float32(0.5)) * np.float32(2.0**-23)
    for i in range(half):  # u = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2))
        exponent[i] = (bits[i] - np.int32(0x3F3504F3)) >> np.int32(23)
        bits[i] = bits[i] - (exponent[i] << np.int32(23))
    first = np.empty(half, np.float32)
    second = np.empty(half, np.float32)
    for i in range(half):
        log_u = np.float32(exponent[i]) * np.float32(np.log(2.0)) + _log_near_one(mantissa[i])
        radius = np.sqrt(np.float32(-2.0) * log_u)
        angle = raw[half + i]
        theta = np.float32(np.int32((angle & np.uint32(0x3FFFFFFF)) >> np.uint32(8))) * np.float32(2.0**-22)
        theta = (theta - np.float32(0.5)) * np.float32(np.pi / 2)
        sine, cosine = _sine_cosine(theta)
        quarter = angle >> np.uint32(30)
        odd = (quarter & np.uint32(1)) != 0
        sign = np.float32(-1.0) if quarter >= np.uint32(2) else np.float32(1.0)
        first[i] = sign * radius * (-sine if odd else cosine)
        second[i] = sign * radius * (cosine if odd else sine)
    for i in range(half):
        out[i] = first[i]
    for i in range(out.shape[0] - half):
        out[half + i] = second[i]


@compiled(inline=True)
def _log_near_one(m):
    """Natural logarithm of m in [sqrt(1/2), sqrt(2)) as 2 artanh((m - 1) / (m + 1)), float32."""
    s = (m - np.float32(1.0)) / (m + np.float32(1.0))
    s2 = s * s
    tail = np.float32(2.0 / 9.0) + s2 * np.float32(2.0 / 11.0)
    tail = np.float32(2.0 / 7.0) + s2 * tail
    tail = np.float32(2.0 / 5.0) + s2 * tail
    tail = np.float32(2.0 / 3.0) + s2 * tail
    return np.float32(2.0) * s + s * s2 * tail


@compiled(inline=True)
def _sine_cosine(theta):
    """Sine and cosine of theta in [-pi/4, pi/4], Taylor series, float32."""
    t2 = theta * theta
    sine = np.float32(1.0 / 120.0) + t2 * (np.float32(-1.0 / 5040.0) + t2 * np.float32(1.0 / 362880.0))
    sine = theta + theta * t2 * (np.float32(-1.0 / 6.0) + t2 * sine)
    cosine = np.float32(-1.0 / 720.0) + t2 * (np.float32(1.0 / 40320.0) + t2 * np.float32(-1.0 / 3628800.0))
    cosine = np.float32(1.0) + t2 * (np.float32(-0.5) + t2 * (np.float32(1.0 / 24.0) + t2 * cosine))
    return sine, cosine
