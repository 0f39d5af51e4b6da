"""The least that a training step can cost: its passes through the network, compiled in one."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from clustr_tf.classifier import Classifier


class Passes(NamedTuple):
    """What a method does with a batch.

    Attributes:
        descents: forward and backward passes for the weights.
        attack_steps: forward passes with a backward pass for the images.
        replays: how often all that, and the optimiser, is repeated.
    """

    descents: int
    attack_steps: int
    replays: int = 1


PASSES = {
    "clustr": Passes(1, 0),
    "clustr_qtrades": Passes(2, 1),
    "clustr_trades": Passes(2, 10),
    "clustr_free": Passes(1, 0, replays=4),
    "clustr_robust": Passes(2, 3),
    "clustr_at": Passes(1, 1),
    "clustr_ibp": Passes(3, 0),  # the clean image and both ends of the box
    "nominal": Passes(1, 0),
    "pgd_at": Passes(1, 7),
    "fast_at": Passes(1, 1),
    "free_at": Passes(1, 0, replays=4),
    "trades": Passes(2, 10),
}


def build_bare_step(
    classifier: Classifier, passes: Passes, jit_compile: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Forward, backward and optimiser in one compiled function, the loss as cheap as can be.

    Args:
        classifier: its embedder is trained.
        passes: how many of them.
        jit_compile: whether XLA compiles all of it.

    Returns:
        float32 images `[batch, H, W, C]` -> loss.
    """
    variables = classifier.embedder.trainable_variables
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(variables)

    def loss_of(images: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.reduce_mean(tf.square(classifier.embed(images, training=training)))

    def attacked(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = loss_of(images, training=False)
        return images + 0.01 * tf.sign(tape.gradient(loss, images))

    def descend(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            if passes.replays > 1:
                tape.watch(images)
            losses = [loss_of(images, training=True)]
            adversarial = images
            if passes.attack_steps:
                for _ in range(passes.attack_steps):
                    adversarial = attacked(adversarial)
                adversarial = tf.stop_gradient(adversarial)
            if passes.descents == 2:
                losses.append(loss_of(adversarial, training=True))
            elif passes.attack_steps:
                losses = [loss_of(adversarial, training=True)]
            loss = tf.add_n(losses)
        weights = [variable.value for variable in variables]
        if passes.replays > 1:
            gradients, ascent = tape.gradient(loss, (weights, images))
            images = images + 0.01 * tf.sign(ascent)
        else:
            gradients = tape.gradient(loss, weights)
        optimizer.apply(gradients, variables)
        return images, loss

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step(images: tf.Tensor) -> tf.Tensor:
        for _ in range(passes.replays):
            images, loss = descend(images)
        return loss

    return step
