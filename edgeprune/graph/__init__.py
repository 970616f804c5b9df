"""Which channels leave together: a module's exported graph, followed by labels; and its cost."""

from .cost import Cost, Row, cost
from .follow import Refusal
from .graph import Graph
from .groups import Group, Site
from .trace import trace
from .vanish import can_vanish

__all__ = ["Cost", "Graph", "Group", "Refusal", "Row", "Site", "can_vanish", "cost", "trace"]
