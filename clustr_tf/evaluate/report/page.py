"""The page: templates, style, scripts and pictures in one file that opens without a network."""

import base64
import hashlib
import io
import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from plotly.offline import get_plotlyjs

from clustr_tf.evaluate.report import charts, words
from clustr_tf.evaluate.report.reading import Evaluation
from clustr_tf.run.files import replacing

_CONDITIONS = ("data", "examples", "norm", "eps")
_THUMBNAIL = 32  # longest side on a sheet
_LOSSLESS_SIDE = 64  # larger pictures are photographs, for which PNG is several times larger
_QUALITY = 85


def write_report(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Writes one self-contained HTML page.

    Several evaluations are ranked by worst-case accuracy, their details follow.

    Args:
        path: the file to write; it is complete or not there.
        evaluations: at least one.

    Raises:
        ValueError: if there is none.

    Example:
        >>> write_report(Path("report.html"), [read_evaluation(Path("runs/digits"))])
    """
    if not evaluations:
        raise ValueError("evaluations must hold at least one evaluation. Received: none")
    environment = _environment()
    ranked = ranking(evaluations)
    sheets = [thumbnail_sheet(e.arrays["map_images"]) if e.has_map else None for e in ranked]
    scripts = [get_plotlyjs(), _source(environment, "charts.js")]
    page = environment.get_template(
        "report.html" if len(ranked) == 1 else "comparison.html"
    ).render(
        evaluations=ranked,
        names=_names(ranked),
        sheets=sheets,
        # The workdirs of a comparison mostly show the same images: one sheet serves them all.
        sheet_uris=list(dict.fromkeys(sheet.uri for sheet in sheets if sheet)),
        style=_source(environment, "style.css"),
        scripts=scripts,
        script_hashes=[_hash(script) for script in scripts],
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clustr_tf.evaluate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "radius": words.radius,
        "norm": words.norm_name,
        "attack": words.attack_name,
        "shell": lambda path: shlex.quote(str(path)),
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    environment.globals |= {
        "budget": words.budget,
        "masking_verdict": words.masking_verdict,
        "by_norm": by_norm,
        "differing_conditions": differing_conditions,
        "charts": charts,
        "data_uri": data_uri,
        "difference": difference,
        "zip": zip,
    }
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(script: str) -> str:
    """For the page's Content-Security-Policy: no script runs but these."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _names(evaluations: Sequence[Evaluation]) -> list[str]:
    """The folders' names where they tell the evaluations apart, else their whole paths."""
    names = [evaluation.workdir.resolve().name for evaluation in evaluations]
    if max(Counter(names).values()) > 1:
        return [str(evaluation.workdir) for evaluation in evaluations]
    return names


def ranking(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations by worst-case accuracy, the best first and the unattacked ones last.

    Example:
        >>> ranking([weak, robust])  # [robust, weak]; equals keep their order
    """

    def worst_case(evaluation: Evaluation) -> float:
        accuracy = evaluation.get("worst_case_accuracy")
        return -1.0 if accuracy is None else float(accuracy)

    return sorted(evaluations, key=worst_case, reverse=True)


def differing_conditions(evaluations: Sequence[Evaluation]) -> list[str]:
    """Entries of robustness.json that were not the same for all; a ranking over it means little.

    Example:
        >>> differing_conditions([at_8_255, at_16_255])  # ["eps"]
    """
    found = [
        name
        for name in _CONDITIONS
        if len({evaluation.figures[name] for evaluation in evaluations}) > 1
    ]
    if len({tuple(evaluation.figures["attacks"]) for evaluation in evaluations}) > 1:
        found.append("attacks")
    return found


def by_norm(
    evaluations: Sequence[Evaluation], names: Sequence[str]
) -> list[tuple[list[Evaluation], list[str]]]:
    """The evaluations of each norm with their names: radii of two norms share no axis."""
    norms = dict.fromkeys(evaluation.figures["norm"] for evaluation in evaluations)
    pairs = list(zip(evaluations, names, strict=True))
    groups = [[pair for pair in pairs if pair[0].figures["norm"] == norm] for norm in norms]
    return [([pair[0] for pair in group], [pair[1] for pair in group]) for group in groups]


@dataclass(frozen=True)
class Sheet:
    """Thumbnails side by side in one picture; the page shows one of them by moving it.

    Attributes:
        uri: the picture.
        columns: thumbnails in a row.
        rows: rows of thumbnails.
        height: of a thumbnail for a width of 1.
    """

    uri: str
    columns: int
    rows: int
    height: float


def data_uri(image: np.ndarray) -> str:
    """An image as a `data:` URI: PNG, or WebP where it is large.

    Args:
        image: uint8 or float `[H, W, C]`; floats in [0, 1].

    Returns:
        The URI.

    Example:
        >>> data_uri(np.zeros((8, 8, 1)))  # "data:image/png;base64,iVBORw0..."
    """
    return _encoded(_picture(image), lossless=max(image.shape[:2]) <= _LOSSLESS_SIDE)


def difference(clean: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """The change of images, grey where there is none and scaled to the whole range.

    Args:
        clean: `[N, H, W, C]` in [0, 1].
        adversarial: of the same shape.

    Returns:
        `[N, H, W, C]` in [0, 1]; one scale for all images, so that they can be compared.

    Example:
        >>> difference(clean, clean)  # 0.5 everywhere
    """
    change = adversarial - clean
    largest = np.max(np.abs(change), initial=0.0)
    return 0.5 + change / (2 * largest) if largest else np.full_like(change, 0.5)


def thumbnail_sheet(images: np.ndarray) -> Sheet:
    """Thumbnails of images in one picture.

    Args:
        images: uint8 `[N, H, W, C]`, N at least 1.

    Returns:
        The sheet; image i is at row i // columns, column i % columns.

    Example:
        >>> thumbnail_sheet(images).columns  # 23 for 500 images
    """
    height, width = images.shape[1:3]
    shrink = min(1.0, _THUMBNAIL / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(_picture(images[0]).mode, (columns * size[0], rows * size[1]))
    for index, image in enumerate(images):
        place = (index % columns * size[0], index // columns * size[1])
        sheet.paste(_picture(image).resize(size, Image.Resampling.BOX), place)
    # Lossy blocks of 16 pixels would bleed from one small grey thumbnail into the next.
    uri = _encoded(sheet, lossless=sheet.mode == "L")
    return Sheet(uri, columns, rows, height / width)


def _picture(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return Image.fromarray(image[..., :3] if image.shape[-1] >= 3 else image[..., 0])


def _encoded(picture: Image.Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    kind = "png" if lossless else "webp"
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "WEBP", quality=_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
