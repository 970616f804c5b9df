"""``python -m edgeprune``."""

from .cli import main

main()
