"""The page: templates, style and scripts in one file that opens without a network."""

import base64
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from clustr_tf.evaluation.report import charts, pictures, words
from clustr_tf.evaluation.report.comparison import by_norm, differing_conditions, ranking
from clustr_tf.evaluation.report.reading import Evaluation
from clustr_tf.files import replacing


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
    sheets = [
        pictures.thumbnail_sheet(e.arrays["map_images"]) if e.has_map else None for e in ranked
    ]
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
        loader=PackageLoader("clustr_tf.evaluation.report"),
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
        "pictures": pictures,
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
