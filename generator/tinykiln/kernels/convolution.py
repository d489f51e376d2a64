"""CONV_2D and DEPTHWISE_CONV_2D, int8: packed weights, folded biases, one scale a channel."""

from __future__ import annotations

from tinykiln.graph import Array, Conv2D, DepthwiseConv2D, Graph, Operator, Tensor, Window
from tinykiln.kernels.channels import (
    channel_rows,
    constant_data,
    effective_scales,
    folded_bias,
    operands,
    output_fields,
)
from tinykiln.kernels.fixed_point import multiplier_and_shift, zero_of
from tinykiln.kernels.kernel import Constant, Kernel, Ref, Row
from tinykiln.kernels.pack import pack_conv2d, pack_depthwise


def conv2d(graph: Graph, operator: Operator) -> Kernel:
    """CONV_2D; 1x1 windows without padding get a kernel of their own."""
    options = operator.options
    assert isinstance(options, Conv2D)
    x, weights, output = operands(graph, operator)
    is_1x1 = options.window.kernel == (1, 1) and options.window.pad == (0, 0) and options.groups == 1
    name = "conv2d_1x1_s8" if is_1x1 else "conv2d_s8"
    channels = _channels(graph, operator, constant_data(weights).reshape(weights.shape[0], -1))
    return Kernel(
        kind="conv",
        function=f"crt_{name}",
        params="struct crt_conv2d_s8",
        header="crt/conv2d.h",
        source=f"{name}.c",
        operands=operator.inputs[:1],
        rows=(
            image_row(x, output),
            window_row(options.window),
            (("groups", options.groups), ("in_zero", zero_of(x)), *output_fields(output, options.activation)),
            (("weights", Ref("weights")), ("channels", Ref("channels"))),
        ),
        constants=(
            Constant(
                "weights",
                "int8_t",
                pack_conv2d(constant_data(weights), options.groups),
                "[group][4 output channels][row][column][input channel][4]",
            ),
            channels,
        ),
        macs=output.size * weights.size // weights.shape[0],
        note=image_note(x, output),
    )


def depthwise_conv2d(graph: Graph, operator: Operator) -> Kernel:
    """DEPTHWISE_CONV_2D; a multiplier other than 1 gets a kernel of its own."""
    options = operator.options
    assert isinstance(options, DepthwiseConv2D)
    x, weights, output = operands(graph, operator)
    name = "depthwise_conv2d_s8" if options.multiplier == 1 else "depthwise_conv2d_multiplier_s8"
    channels = _channels(graph, operator, constant_data(weights).reshape(-1, weights.shape[-1]).T)
    packed = pack_depthwise(constant_data(weights), options.multiplier)
    layout = "[4 channels][row][column][4]" if options.multiplier == 1 else "[input channel][4 outputs][row][column][4]"
    return Kernel(
        kind="dwconv",
        function=f"crt_{name}",
        params="struct crt_depthwise_conv2d_s8",
        header="crt/depthwise_conv2d.h",
        source=f"{name}.c",
        operands=operator.inputs[:1],
        rows=(
            image_row(x, output),
            window_row(options.window),
            (("multiplier", options.multiplier), ("in_zero", zero_of(x)), *output_fields(output, options.activation)),
            (("weights", Ref("weights")), ("channels", Ref("channels"))),
        ),
        constants=(
            Constant("weights", "int8_t", packed, layout),
            channels,
        ),
        macs=output.size * weights.size // weights.shape[-1],
        note=image_note(x, output),
    )


def image_row(x: Tensor, output: Tensor) -> Row:
    """The shapes that every spatial kernel has, of tensors (N, H, W, C)."""
    return (("batch", x.shape[0]), ("in", x.shape[1:]), ("out", output.shape[1:]))


def window_row(window: Window) -> Row:
    """struct crt_window."""
    pairs = {"kernel": window.kernel, "stride": window.stride, "dilation": window.dilation, "pad": window.pad}
    return (("window", tuple(pairs.items())),)


def image_note(x: Tensor, output: Tensor) -> str:
    """Shapes of one image, for a comment: 49x10x1 -> 25x5x64."""
    return " -> ".join("x".join(str(n) for n in tensor.shape[1:]) for tensor in (x, output))


def _channels(graph: Graph, operator: Operator, weights: Array) -> Constant:
    """struct crt_channel for each of the `weights` (channel, taps): folded bias, multiplier, shift."""
    multiplier, shift = multiplier_and_shift(effective_scales(graph, operator, len(weights)))
    return channel_rows(folded_bias(graph, operator, weights), multiplier, shift)
