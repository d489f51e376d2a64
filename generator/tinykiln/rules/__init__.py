"""What every operator must fulfil: the table of what can be compiled, and the rules of each kind.

The rules are those of the TensorFlow Lite reference kernels, and bounds under which no 32-bit sum of a kernel can
overflow. `OPERATORS` is the one table of operators and dtypes that can be compiled; loaders, checks and the list
that a user sees all read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinykiln.graph import Add, Conv2D, DepthwiseConv2D, FullyConnected, NoOptions, Pool2D, Softmax
from tinykiln.rules.convolution import conv2d_faults, depthwise_conv2d_faults
from tinykiln.rules.elementwise import add_faults, dequantize_faults, quantize_faults, reshape_faults, softmax_faults
from tinykiln.rules.fully_connected import fully_connected_faults
from tinykiln.rules.pooling import pool2d_faults
from tinykiln.rules.rule import Fault, Node, Rule, Signature
from tinykiln.rules.tensors import MAX_BYTES, activation_faults, shape_faults, tensor_faults

__all__ = ["MAX_BYTES", "OPERATORS", "Fault", "Node", "Rule", "Signature", "activation_faults", "shape_faults",
           "tensor_faults"]

_CONV = (Signature(("int8", "int8", "int32"), "int8"),)
_POOL = (Signature(("int8",), "int8"),)
_QUANTIZE = (Signature(("float32",), "int8"), Signature(("int8",), "int8"), Signature(("uint8",), "int8"),
             Signature(("int8",), "uint8"))

OPERATORS: Mapping[str, Rule] = {
    "ADD": Rule(Add, (Signature(("int8", "int8"), "int8"),), add_faults),
    "AVERAGE_POOL_2D": Rule(Pool2D, _POOL, pool2d_faults),
    "CONV_2D": Rule(Conv2D, _CONV, conv2d_faults, missing="has no bias; the reference kernel needs one"),
    "DEPTHWISE_CONV_2D": Rule(DepthwiseConv2D, _CONV, depthwise_conv2d_faults, optional=1),
    "DEQUANTIZE": Rule(NoOptions, (Signature(("int8",), "float32"),), dequantize_faults),
    "FULLY_CONNECTED": Rule(FullyConnected, _CONV, fully_connected_faults, optional=1),
    "MAX_POOL_2D": Rule(Pool2D, _POOL, pool2d_faults),
    "QUANTIZE": Rule(NoOptions, _QUANTIZE, quantize_faults),
    "RESHAPE": Rule(NoOptions, (Signature(("int8",), "int8"),), reshape_faults),
    "SOFTMAX": Rule(Softmax, (Signature(("int8",), "int8"),), softmax_faults),
}
