"""What a network's answer is, and how it is judged: one row a task."""

from .classification import CLASSIFICATION
from .compare import Comparison, Scores, comparisons, sentence
from .table import TASKS, judged, labelled, named, told
from .task import Measure, Task
from .vectors import VALUES

__all__ = [
    "CLASSIFICATION",
    "TASKS",
    "VALUES",
    "Comparison",
    "Measure",
    "Scores",
    "Task",
    "comparisons",
    "judged",
    "labelled",
    "named",
    "sentence",
    "told",
]
