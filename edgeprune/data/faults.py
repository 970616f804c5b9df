"""What is wrong with a data set: collected first, then one clear line or a counted skip."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..errors import EdgepruneError
from ..units import some


@dataclass
class Faults:
    """Every image, class or member that cannot be used, with its reason.

    `settle` ends the load with one :class:`EdgepruneError`, or, where the user asked to skip,
    returns the notes that report how many were left out and why.
    """

    source: str
    skip: bool = False
    found: list[tuple[str, str]] = field(default_factory=list)  # (where, why)

    def add(self, where: str, why: str) -> None:
        self.found.append((where, why))

    def settle(self) -> list[str]:
        found, self.found = sorted(self.found), []
        if not found:
            return []
        if not self.skip:
            where, why = found[0]
            more = f" (and {len(found) - 1:,} more such faults)" if len(found) > 1 else ""
            raise EdgepruneError(
                f"{self.source}: {where}", why + more, "mend it, or leave it out with --skip-bad"
            )
        examples: dict[str, list[str]] = {}
        for where, why in found:
            examples.setdefault(why, []).append(where)
        return [
            f"{self.source}: left out {n:,}: {why} ({some(examples[why])})"
            for why, n in Counter(why for _, why in found).most_common()
        ]
