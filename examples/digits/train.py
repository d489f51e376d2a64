"""Trains a small CNN on scikit-learn's digits and writes digits.tflite (int8) and test.npz beside this file.

Needs TensorFlow and scikit-learn (seen to work with Python 3.11; `pip install -r examples/digits/requirements.txt`).
TinyKiln itself and its tests need none of them: the model and the test images are committed.

The 450 held-out images take no part in training, in calibration or in any choice made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow.lite.tools import flatbuffer_utils

Array: TypeAlias = npt.NDArray[Any]

SEED = 0
EPOCHS = 60
BATCH = 32
FOLDER = Path(__file__).resolve().parent

# The operators of the converted model in run order: the name of the tensor that each makes, its kind.
OPERATORS = (
    ("conv", "CONV_2D"),
    ("depthwise", "DEPTHWISE_CONV_2D"),
    ("pointwise", "CONV_2D"),
    ("residual", "ADD"),
    ("max_pool", "MAX_POOL_2D"),
    ("conv_wide", "CONV_2D"),
    ("average_pool", "AVERAGE_POOL_2D"),
    ("flat", "RESHAPE"),
    ("logits", "FULLY_CONNECTED"),
    ("scores", "SOFTMAX"),
)


def load_split() -> tuple[Array, Array, Array, Array]:
    """Training images, held-out images, training labels, held-out labels; images float32 (N, 8, 8, 1) in [0, 1]."""
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    return train_x, test_x, train_y, test_y


def make_network() -> keras.Model:
    """(8, 8, 1) to 10 probabilities. The converter folds each batch normalisation into the convolution before it."""
    layers = keras.layers

    def normalised(x: Any, layer: keras.Layer) -> Any:
        return layers.BatchNormalization()(layer(x))

    image = keras.Input((8, 8, 1), name="image")
    first = layers.ReLU()(normalised(image, layers.Conv2D(16, 3, padding="same", use_bias=False)))
    x = layers.ReLU()(normalised(first, layers.DepthwiseConv2D(3, padding="same", use_bias=False)))
    x = normalised(x, layers.Conv2D(16, 1, use_bias=False))
    x = layers.ReLU()(layers.Add()([first, x]))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(normalised(x, layers.Conv2D(32, 3, padding="same", use_bias=False)))
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dropout(0.3, seed=SEED)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def train(network: keras.Model, images: Array, labels: Array) -> None:
    """Trains in place, on images that are shifted by up to one pixel at random."""
    shift = keras.layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", seed=SEED)
    trained = keras.Sequential([keras.Input((8, 8, 1)), shift, network])
    steps = EPOCHS * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    trained.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    trained.fit(images, labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)


def convert(network: keras.Model, images: Array) -> bytes:
    """The network as an int8 .tflite for one image at a time; `images` calibrate the ranges of the activations."""

    def representative() -> Iterator[list[Array]]:
        for image in images:
            yield [image[np.newaxis]]

    image = keras.Input(batch_shape=(1, 8, 8, 1), name="image")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, network(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def with_readable_names(model: bytes) -> bytes:
    """The model with tensors named after OPERATORS; ValueError where its operators are others."""
    root = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = root.subgraphs[0]
    kinds = [flatbuffer_utils.opcode_to_name(root, op.opcodeIndex) for op in graph.operators]
    if kinds != [kind for _, kind in OPERATORS]:
        raise ValueError(f"the converter made other operators than expected: {kinds}")
    for (name, kind), op in zip(OPERATORS, graph.operators, strict=True):
        graph.tensors[op.outputs[0]].name = name
        parts = ("shape",) if kind == "RESHAPE" else ("weights", "bias")
        for index, part in zip(op.inputs[1:], parts, strict=False):
            if root.buffers[graph.tensors[index].buffer].data is not None:  # not the second addend of ADD
                graph.tensors[index].name = f"{name}/{part}"
    graph.tensors[graph.inputs[0]].name = "image"
    root.signatureDefs[0].outputs[0].name = "scores"
    graph.name = "digits"
    return bytes(flatbuffer_utils.convert_object_to_bytearray(root))


def quantised(model: bytes, images: Array) -> Array:
    """Float images as the model's int8 input, (N, 8, 8, 1)."""
    scale, zero = tf.lite.Interpreter(model_content=model).get_input_details()[0]["quantization"]
    return np.clip(np.round(images / scale) + zero, -128, 127).astype(np.int8)


def int8_classes(model: bytes, images: Array) -> Array:
    """The class of each int8 image by TensorFlow Lite's reference kernels, (N,)."""
    interpreter = tf.lite.Interpreter(
        model_content=model, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def classify(image: Array) -> int:
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        return int(np.argmax(interpreter.get_tensor(sink)))

    return np.array([classify(image) for image in images])


def main() -> None:
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    train_x, test_x, train_y, test_y = load_split()
    network = make_network()
    train(network, train_x, train_y)
    model = with_readable_names(convert(network, train_x))
    inputs = quantised(model, test_x)
    (FOLDER / "digits.tflite").write_bytes(model)
    np.savez_compressed(FOLDER / "test.npz", image=inputs[:, np.newaxis], labels=test_y)
    float_classes = np.argmax(network.predict(test_x, verbose=0), axis=1)
    print(f"size: {len(model)} bytes")
    for title, classes in (("float", float_classes), ("int8", int8_classes(model, inputs))):
        right = int(np.sum(classes == test_y))
        print(f"{title}: {right} of {len(test_y)} right, {100 * right / len(test_y):.2f} %")


if __name__ == "__main__":
    main()
