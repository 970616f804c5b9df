"""Training: a recipe, a model and data in, the best epoch's weights out; killed, it goes on."""

from .forecast import Pace, measure
from .loop import Fit, evaluate, fit
from .recipes import RECIPES, Recipe
from .watch import Watch

__all__ = ["RECIPES", "Fit", "Pace", "Recipe", "Watch", "evaluate", "fit", "measure"]
