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
    weights = constant_data(operands(graph, operator)[1])
    is_1x1 = options.window.kernel == (1, 1) and options.window.pad == (0, 0) and options.groups == 1
    packed = pack_conv2d(weights, options.groups)
    return _convolution(
        graph, operator, "conv2d_1x1_s8" if is_1x1 else "conv2d_s8",
        Constant("weights", "int8_t", packed, "[group][4 output channels][row][column][input channel][4]"),
        _channels(graph, operator, weights.reshape(weights.shape[0], -1)),
    )


def depthwise_conv2d(graph: Graph, operator: Operator) -> Kernel:
    """DEPTHWISE_CONV_2D; a multiplier other than 1 gets a kernel of its own."""
    options = operator.options
    assert isinstance(options, DepthwiseConv2D)
    weights = constant_data(operands(graph, operator)[1])
    one = options.multiplier == 1
    layout = "[4 channels][row][column][4]" if one else "[input channel][4 outputs][row][column][4]"
    return _convolution(
        graph, operator, "depthwise_conv2d_s8" if one else "depthwise_conv2d_multiplier_s8",
        Constant("weights", "int8_t", pack_depthwise(weights, options.multiplier), layout),
        _channels(graph, operator, weights.reshape(-1, weights.shape[-1]).T),
    )


def _convolution(graph: Graph, operator: Operator, name: str, weights: Constant, channels: Constant) -> Kernel:
    """What both have in common."""
    options = operator.options
    x, unpacked, output = operands(graph, operator)
    if isinstance(options, Conv2D):
        kind, family, split = "conv", "conv2d", ("groups", options.groups)
    else:
        assert isinstance(options, DepthwiseConv2D)
        kind, family, split = "dwconv", "depthwise_conv2d", ("multiplier", options.multiplier)
    return Kernel(
        kind=kind,
        function=f"crt_{name}",
        params=f"struct crt_{family}_s8",
        header=f"crt/{family}.h",
        source=f"{name}.c",
        operands=operator.inputs[:1],
        rows=(
            image_row(x, output),
            window_row(options.window),
            (split, ("in_zero", zero_of(x)), *output_fields(output, options.activation)),
            (("weights", Ref("weights")), ("channels", Ref("channels"))),
        ),
        constants=(weights, channels),
        macs=output.size * unpacked.size // len(channels.data),
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
