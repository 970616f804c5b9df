"""``edgeprune prune``: the main job, in each of its ways."""

from __future__ import annotations

from ..errors import EdgepruneError
from . import output, plans, words
from .typed import typed


@typed
def prune(asked: words.Prune) -> None:
    """Remove the filters that do not matter.

    [b]The paper's way[/b] (Hubens et al. 2020) is the default: trains first when the run has no network;
    then filters leave one layer at a time, and it is retrained while the validation accuracy stays
    within --max-drop points.

    [b]To a target[/b]: --keep-flops 0.5, in one round or --rounds N, or --during-training.

    [b]Without labels[/b]: --post-training --keep-flops 0.5 --images FOLDER; or RUN --pick N, one of the
    networks that [b]edgeprune frontier[/b] measured.

    With --int8 the .onnx files follow, dense and pruned, each in float and in 8 bits.

    Killed, it goes on where it was when the same command is typed again.

    Example: [b]edgeprune prune --model vgg16 --init imagenet[/b]
    """
    from .. import files, ways
    from ..ways import quantising
    from . import progress

    if asked.how.int8 and asked.how.dry_run:
        raise EdgepruneError("--int8", "writes files, and --dry-run writes none", "leave one out")
    given = plans.given(asked)
    way, wanted = asked.way(given), words.wanted(asked)
    with output.aside(), progress.watch() as watch:
        if not asked.how.dry_run:
            done = ways.prune(wanted, way, given, watch)
            if asked.how.int8:
                quantising.after_pruning(done.run, output.note, output.in_8_bits)
        else:
            planned = ways.dry(wanted, way, given, watch)
    if asked.how.dry_run:
        plans.show(planned, asked.how.plan_out, asked.rest.as_json, asked.choice.device or "cpu")
        return
    if asked.how.plan_out is not None:
        files.write_json(asked.how.plan_out, files.read_json(done.run.plan_path))
    output.networks(done.run, asked.rest.as_json)
    output.note(f"stopped: {done.ended}. Everything lies in {done.run.path}")
    next = "bench" if asked.how.int8 else "export"
    output.note(f"next: edgeprune {next} {done.run.name}")
