"""The training methods once more: float64 NumPy on a linear network, gradients by differences."""

import numpy as np
import tensorflow as tf


def log_softmax(scores):
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(scores, classes):
    return -log_softmax(scores)[np.arange(len(classes)), classes]


def soft_cross_entropy(clean, perturbed):
    return -(np.exp(log_softmax(clean)) * log_softmax(perturbed)).sum(axis=1)


def kl(clean, perturbed):
    return soft_cross_entropy(clean, perturbed) - soft_cross_entropy(clean, clean)


def mse(clean, perturbed):
    return ((clean - perturbed) ** 2).mean(axis=1)


def cluster_log_scores(embeddings, centroids, variance):
    """One cluster a class: -|z - mu|^2 / (2 sigma^2)."""
    distances = ((embeddings[:, None] - centroids[None]) ** 2).sum(axis=2)
    return -distances / (2 * variance)


def bisector_distances(embeddings, centroids, classes):
    """Signed distances to the other classes' bisectors; infinity for the own class."""
    distances = ((embeddings[:, None] - centroids[None]) ** 2).sum(axis=2)
    own = np.take_along_axis(distances, classes[:, None], axis=1)
    gaps = np.linalg.norm(centroids[:, None] - centroids[None], axis=2)
    np.fill_diagonal(gaps, 1.0)
    radii = (distances - own) / (2 * gaps[classes])
    return np.where(np.eye(len(centroids), dtype=bool)[classes], np.inf, radii)


def magnet(embeddings, classes, alpha):
    """One cluster a class: relu(alpha + d_own / 2s + logsumexp_others(-d / 2s))."""
    names = np.unique(classes)
    means = np.stack([embeddings[classes == name].mean(axis=0) for name in names])
    distances = ((embeddings[:, None] - means[None]) ** 2).sum(axis=2)
    own = np.searchsorted(names, classes)
    rows = np.arange(len(classes))
    variance = distances[rows, own].sum() / (len(classes) - 1)
    others = np.where(names[None] == classes[:, None], -np.inf, -distances / (2 * variance))
    losses = alpha + distances[rows, own] / (2 * variance) + np.log(np.exp(others).sum(axis=1))
    return np.maximum(losses, 0)


def differences(function, point, step=1e-6):
    """Gradient of a scalar function by central differences."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        offset = np.zeros_like(point)
        offset[index] = step
        gradient[index] = (function(point + offset) - function(point - offset)) / (2 * step)
    return gradient


def sign_steps(loss, pixels, start, eps, step_size, steps):
    """Projected sign steps inside the eps-ball and [0, 1]."""
    found = start
    for _ in range(steps):
        gradient = differences(loss, found)
        assert np.abs(gradient).min() > 1e-7  # else the sign would be left to rounding
        found = np.clip(found + step_size * np.sign(gradient), 0, 1)
        found = np.clip(pixels + np.clip(found - pixels, -eps, eps), 0, 1)
    return found


def uniform_start(pixels, eps, seed):
    noise = tf.random.stateless_uniform((len(pixels), 1, pixels.shape[1], 1), seed, -eps, eps)
    return np.clip(pixels + noise.numpy().reshape(pixels.shape), 0, 1)


def gaussian_start(pixels, seed):
    noise = tf.random.stateless_normal((len(pixels), 1, pixels.shape[1], 1), seed)
    return np.clip(pixels + 0.001 * noise.numpy().reshape(pixels.shape), 0, 1)
