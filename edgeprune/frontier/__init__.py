"""One look at the images, then several networks from exact to fast, measured side by side."""

from .explore import Found, Wish, explore
from .ladder import beaten, next_share
from .read import frontier_of, plan_of

__all__ = ["Found", "Wish", "beaten", "explore", "frontier_of", "next_share", "plan_of"]
