"""What a network's answer is, and how it is judged: one row a task."""

from .classification import CLASSIFICATION
from .compare import Comparison, comparisons, sentence
from .table import TASKS, judged, named, told
from .task import Measure, Task, variance_lost
from .vectors import VALUES

__all__ = [
    "CLASSIFICATION",
    "TASKS",
    "VALUES",
    "Comparison",
    "Measure",
    "Task",
    "comparisons",
    "judged",
    "named",
    "sentence",
    "told",
    "variance_lost",
]
