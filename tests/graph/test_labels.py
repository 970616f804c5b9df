"""Classes of labels, and the normal form: one labelled axis at most."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.graph.labels import PINNED, Classes, Labelled

PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


@given(PAIRS)
def test_union_is_the_equivalence_closure(pairs: list[tuple[int, int]]) -> None:
    classes = Classes()
    classes.fresh(19)
    for a, b in pairs:
        classes.union(np.array([a]), np.array([b]))
    at_once = Classes()
    at_once.fresh(19)
    if pairs:
        left, right = np.array(pairs).T
        at_once.union(left, right)
    slow = list(range(20))
    for a, b in pairs:
        low, high = sorted((slow[a], slow[b]))
        slow = [low if s == high else s for s in slow]
    assert classes.parent.tolist() == at_once.parent.tolist() == slow


@given(PAIRS)
def test_new_labels_in_old_classes_are_as_if_tied_to_them(pairs: list[tuple[int, int]]) -> None:
    tied, within = Classes(), Classes()
    for classes in (tied, within):
        classes.fresh(19)
    follow = np.arange(5, 12)
    for a, b in [*pairs, (3, 7)]:
        for classes in (tied, within):
            classes.union(np.array([a]), np.array([b]))
    tied.union(tied.fresh(len(follow)), follow)
    within.fresh_in(follow, len(follow))
    assert tied.parent.tolist() == within.parent.tolist()


def test_there_is_room_for_many_labels() -> None:
    classes = Classes()
    made = [classes.fresh(n) for n in (700, 700, 5000)]
    assert np.array_equal(np.concatenate(made), np.arange(1, 6401))
    assert classes.parent.tolist() == list(range(6401))


def labelled(*shape: int, axis: int) -> tuple[Classes, Labelled]:
    classes = Classes()
    return classes, Labelled(shape, axis, classes.fresh(shape[axis]))


def test_a_constant_axis_is_no_axis() -> None:
    classes = Classes()
    label = classes.fresh(1)
    form = classes.normal_form(torch.full((2, 3), int(label[0])))
    assert form.axis is None
    assert classes.find(label) == PINNED  # what fills a whole tensor cannot leave


def test_the_labelled_axis_is_found_after_a_move() -> None:
    classes, x = labelled(2, 5, 4, 4, axis=1)
    form = classes.normal_form(x.array().permute(0, 2, 3, 1))
    assert form.axis == 3
    assert x.labels is not None
    assert form.labels is not None
    assert form.labels.tolist() == x.labels.tolist()


def test_a_split_axis_couples_to_the_side_with_most_classes() -> None:
    classes, x = labelled(2, 12, axis=1)
    form = classes.normal_form(x.array().reshape(2, 3, 4))
    assert form.axis == 2  # four classes of three rather than three of four
    assert form.labels is not None
    assert len(set(form.labels.tolist())) == 4
    assert classes.find(np.array([1, 5, 9])).tolist() == [1, 1, 1]


def test_channels_laid_along_space_stay_classes() -> None:
    classes, x = labelled(2, 3, 4, 4, axis=1)
    form = classes.normal_form(x.array().reshape(2, 48))
    assert form.axis == 1
    assert form.labels is not None
    assert form.labels.tolist() == np.repeat([1, 2, 3], 16).tolist()
