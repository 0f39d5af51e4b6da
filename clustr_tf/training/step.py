"""One compiled training step, on one replica or many."""

from collections.abc import Callable

import keras
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.objectives import Objective

Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]


def build_step(
    classifier: Classifier,
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    strategy: tf.distribute.Strategy,
    jit_compile: bool = False,
) -> Step:
    """Compiles the training step.

    Each replica trains on its own neighbourhood; the gradient is the mean over replicas.

    Args:
        classifier: the model, created in the strategy's scope.
        objective: gives the losses.
        optimizer: already built on the classifier's trainable variables in the strategy's scope
            (creating its slots inside the step fails under a strategy).
        augment: (images in [0, 1], seed) -> images.
        strategy: where replicas run.
        jit_compile: whether XLA compiles the step.

    Returns:
        A function (uint8 images `[batch, H, W, C]`, int64 targets `[batch, 2]`, int32 seed `[2]`),
        each a per-replica value, to (remembered losses `[batch]`, named scalars), likewise
        per replica.
    """
    variables = classifier.trainable_variables
    replicas = strategy.num_replicas_in_sync
    signature = [
        tf.TensorSpec([None, *classifier.image_shape], tf.uint8),
        tf.TensorSpec([None, 2], tf.int64),
        tf.TensorSpec([2], tf.int32),
    ]

    @tf.function(input_signature=signature, jit_compile=jit_compile, autograph=False)
    def losses_and_gradients(
        images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        pixels = augment(tf.cast(images, tf.float32) / 255, seed)
        with tf.GradientTape() as tape:
            losses = objective.losses(classifier, pixels, targets)
            # The optimiser sums over replicas.
            loss = tf.reduce_mean(losses.total) / replicas
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        parts = {"loss": tf.reduce_mean(losses.total), **losses.parts}
        return losses.remembered, parts, gradients

    def replica_step(
        images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        remembered, parts, gradients = losses_and_gradients(images, targets, seed)
        optimizer.apply(gradients, variables)
        return remembered, parts

    @tf.function(reduce_retracing=True, autograph=False)
    def step(
        images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return strategy.run(replica_step, args=(images, targets, seed))

    return step
