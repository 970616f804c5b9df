"""edgeprune: a trained CNN becomes a smaller dense one, and its speed is measured, not promised."""

__version__ = "0.1.0"
