"""Training methods: frozen dataclasses that give the losses of a training step."""

from clustr_tf.methods.base import Adversary, FreeTraining, Method, StepLosses, warmed_up
from clustr_tf.methods.baselines import PGDAT, FastAT, FreeAT, Nominal, Trades
from clustr_tf.methods.certified import ClustrCertified, ClustrIBP
from clustr_tf.methods.clustr import Clustr, ClustrFree, ClustrQTrades, ClustrTrades
from clustr_tf.methods.robust import ClustrAT, ClustrRobust

# By the name that configs give them. A method of one's own is one more entry.
METHODS: dict[str, type[Method]] = {
    "clustr": Clustr,
    "clustr_qtrades": ClustrQTrades,
    "clustr_trades": ClustrTrades,
    "clustr_free": ClustrFree,
    "clustr_robust": ClustrRobust,
    "clustr_at": ClustrAT,
    "clustr_certified": ClustrCertified,
    "clustr_ibp": ClustrIBP,
    "nominal": Nominal,
    "pgd_at": PGDAT,
    "fast_at": FastAT,
    "free_at": FreeAT,
    "trades": Trades,
}

__all__ = [
    "METHODS",
    "PGDAT",
    "Adversary",
    "Clustr",
    "ClustrAT",
    "ClustrCertified",
    "ClustrFree",
    "ClustrIBP",
    "ClustrQTrades",
    "ClustrRobust",
    "ClustrTrades",
    "FastAT",
    "FreeAT",
    "FreeTraining",
    "Method",
    "Nominal",
    "StepLosses",
    "Trades",
    "warmed_up",
]
