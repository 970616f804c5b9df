"""Training: a recipe, a model and data in, the best epoch's weights out; killed, it goes on."""

from .batches import fit_batches
from .chance import REMEDY
from .forecast import Pace, measure, sentence
from .loop import Fit, evaluate, fit
from .recipes import RECIPES, Recipe, named
from .step import Judged
from .watch import Cutter, Progress, Watch

__all__ = [
    "RECIPES",
    "REMEDY",
    "Cutter",
    "Fit",
    "Judged",
    "Pace",
    "Progress",
    "Recipe",
    "Watch",
    "evaluate",
    "fit",
    "fit_batches",
    "measure",
    "named",
    "sentence",
]
