"""Weights in the order in which the kernels read them.

All kernels make four output channels at a time, so weights stand as blocks of four channels, the
four weights of a tap next to each other; the last block is filled up with zeros. The layouts are
those of crt/include/crt/conv2d.h, depthwise_conv2d.h and fully_connected.h.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]

_BLOCK = 4


def pack_conv2d(weights: Int8Array, groups: int = 1) -> Int8Array:
    """Pack CONV_2D weights (O, kh, kw, C / groups), int8.

    Returns int8 [group][block of 4 output channels][kh][kw][C / groups][4], flat.
    """
    outputs = weights.shape[0]
    return _interleave(weights.reshape(groups, outputs // groups, -1))


def pack_depthwise(weights: Int8Array, multiplier: int = 1) -> Int8Array:
    """Pack DEPTHWISE_CONV_2D weights (1, kh, kw, C * multiplier), int8.

    Returns int8, flat: [block of 4 channels][kh][kw][4] where the multiplier is 1, otherwise
    [input channel][block of 4 of its output channels][kh][kw][4].
    """
    channels = weights.shape[-1]
    groups = 1 if multiplier == 1 else channels // multiplier
    return _interleave(weights.reshape(-1, channels).T.reshape(groups, channels // groups, -1))


def pack_fully_connected(weights: Int8Array) -> Int8Array:
    """Pack FULLY_CONNECTED weights (O, I), int8. Returns int8 [block of 4 outputs][I][4], flat."""
    return _interleave(weights[np.newaxis])


def _interleave(weights: Int8Array) -> Int8Array:
    """Turn (groups, outputs, taps) into flat [group][block of 4 outputs][taps][4]."""
    groups, outputs, taps = weights.shape
    blocks = -(-outputs // _BLOCK)
    packed = np.zeros((groups, blocks, taps, _BLOCK), np.int8)
    padded = np.zeros((groups, blocks * _BLOCK, taps), np.int8)
    padded[:, :outputs] = weights
    packed[:] = padded.reshape(groups, blocks, _BLOCK, taps).transpose(0, 1, 3, 2)
    return packed.reshape(-1)
