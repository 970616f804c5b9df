"""Which channels leave together: a module's exported graph, followed by labels; and its cost."""

from .cost import Cost, Row, cost
from .follow import Refusal
from .graph import Graph
from .groups import Group, Site
from .trace import trace

__all__ = ["Cost", "Graph", "Group", "Refusal", "Row", "Site", "cost", "trace"]
