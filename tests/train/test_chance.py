"""When a training is at chance: ten classes, ln 10 = 2.303 and three standard errors above a tenth."""

from __future__ import annotations

import pytest

from edgeprune.records import Epoch
from edgeprune.tasks.task import Chance
from edgeprune.train.chance import resting, stuck

AT = Chance(loss=2.303, score=0.13)


@pytest.mark.parametrize(
    ("loss", "accuracy", "expected"),
    [
        (2.3, 0.1, True),
        (2.3, 0.13, True),
        (2.3, 0.2, False),  # its answers are better than that, though its loss is not yet
        (2.2, 0.1, False),  # its loss is, though its answers are not yet
        (2.281, 0.1, True),  # within a hundredth: 0.99 x 2.303 = 2.280
        (2.279, 0.1, False),
    ],
)
def test_an_epoch_is_stuck_by_both(loss: float, accuracy: float, expected: bool) -> None:
    record = Epoch(
        epoch=1,
        epochs=10,
        lr=1e-3,
        train_loss=loss,
        validation_loss=loss,
        validation_accuracy=accuracy,
        seconds=1.0,
    )
    assert stuck(record, AT) == expected


def test_batches_rest_within_a_hundredth_of_chance() -> None:
    """2.280 to 2.326; far above it the network is not resting but breaking."""
    assert [resting(loss, AT) for loss in (2.27, 2.29, 2.32, 2.34, 9.0)] == [
        False,
        True,
        True,
        False,
        False,
    ]
