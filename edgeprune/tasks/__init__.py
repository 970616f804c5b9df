"""What a network's answer is, and how it is judged: one row a task."""

from .classification import CLASSIFICATION
from .table import TASKS, named
from .task import Task, variance_lost

__all__ = ["CLASSIFICATION", "TASKS", "Task", "named", "variance_lost"]
