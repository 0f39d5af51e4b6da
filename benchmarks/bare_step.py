"""The least that a training step can cost: its passes through the network, compiled in one."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.methods import METHODS, ClustrIBP, ClustrQTrades, Method, Trades


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

    @property
    def cost(self) -> int:
        """How many passes that is."""
        return (self.descents + self.attack_steps) * self.replays


# On any backbone; `clustr_certified` needs one that is 1-Lipschitz.
METHODS_ANYWHERE = [name for name, method in METHODS.items() if not method.needs_lipschitz]


def passes_of(method: Method) -> Passes:
    """The passes of a method: its steps and replays, and the batches that its loss descends."""
    descents = 1
    if isinstance(method, ClustrQTrades | Trades):
        descents = 2  # the images and their companions
    elif isinstance(method, ClustrIBP):
        descents = 3  # the images and both ends of the box
    replays = method.free.replays if method.free else 1
    return Passes(descents, getattr(method, "steps", 0), replays)


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
            adversarial = images
            if passes.attack_steps:
                for _ in range(passes.attack_steps):
                    adversarial = attacked(adversarial)
                adversarial = tf.stop_gradient(adversarial)
            batches = {
                1: [adversarial],
                2: [images, adversarial],
                3: [images, images - 0.01, images + 0.01],
            }[passes.descents]
            loss = tf.add_n([loss_of(batch, training=True) for batch in batches])
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
