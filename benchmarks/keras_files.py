"""Three of Keras' networks as .onnx files of tf2onnx, for onnx_in.py; in an environment of its own.

    python -m venv keras && keras/bin/pip install tensorflow-cpu==2.15.1 tf2onnx==1.16.1 'onnx<1.17' 'numpy<2'
    keras/bin/python benchmarks/keras_files.py PHOTOS.npy FOLDER

PHOTOS.npy: [n, 64, 64, 3], normalised (onnx_in.py writes it: ``photos FILE``). Random filters, batch norm
statistics of these photos.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf  # type: ignore[import-not-found]
import tf2onnx  # type: ignore[import-not-found]

SIDE = 64
MORE: dict[str, Any] = {"weights": None, "classifier_activation": None}
NETWORKS = {  # name -> (network, opset, whether the channels come first)
    "keras_mobilenetv2-15": (lambda: _nets().MobileNetV2((SIDE, SIDE, 3), 0.35, **MORE), 15, True),
    "keras_efficientnet_b0-13": (
        lambda: _nets().EfficientNetB0(input_shape=(SIDE, SIDE, 3), **MORE), 13, True,
    ),
    "keras_mobilenetv3-17-nhwc": (
        lambda: _nets().MobileNetV3Small((SIDE, SIDE, 3), 0.75, include_preprocessing=False, **MORE),
        17, False,
    ),
}  # fmt: skip


def _nets() -> Any:
    return tf.keras.applications


def settle(net: Any, photos: np.ndarray) -> None:
    """Random filters, no two alike (tf2onnx writes equal ones once), and the photos' statistics."""
    seeds = itertools.count()
    for layer in net.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
        fresh = [
            tf.keras.initializers.HeNormal(seed=next(seeds))(w.shape).numpy() if w.ndim == 4 else w
            for w in layer.get_weights()
        ]
        layer.set_weights(fresh)
    net(photos, training=True)


def main(photos: str, folder: str) -> None:
    tf.keras.utils.set_random_seed(0)
    for name, (make, opset, first) in NETWORKS.items():
        net = make()
        settle(net, np.load(photos))
        spec = (tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image"),)
        nchw = ["image"] if first else None
        model, _ = tf2onnx.convert.from_keras(
            net, input_signature=spec, opset=opset, inputs_as_nchw=nchw
        )
        onnx.save(model, Path(folder) / f"{name}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
