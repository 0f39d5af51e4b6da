"""Names and types of the signatures' inputs and outputs: what clients rely on."""

_IMAGES = {"images": "float32"}
_PREDICTIONS = {
    "class_id": "int64",
    "probabilities": "float32",
    "certified_radius_l2": "float32",
    "certified_radius_linf": "float32",
}

INPUTS = {
    "serving_default": _IMAGES,
    "certify": {**_IMAGES, "radius_l2": "float32"},
    "embed": _IMAGES,
    "serving_bytes": {"image_bytes": "string"},
}
OUTPUTS = {
    "serving_default": _PREDICTIONS,
    "certify": {
        "class_id": "int64",
        "certified_radius_l2": "float32",
        "certified_radius_linf": "float32",
        "embedding_margin": "float32",
        "nearest_cluster": "int64",
        "runner_up_class_id": "int64",
        "is_certified": "bool",
    },
    "embed": {"embeddings": "float32", "nearest_cluster": "int64", "squared_distances": "float32"},
    "serving_bytes": _PREDICTIONS,
}
