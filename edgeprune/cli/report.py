"""``edgeprune report``: the whole run on one page."""

from __future__ import annotations

from . import options, output


def report(run: options.RUN = None, as_json: options.JSON = False) -> None:
    """Write report.html: what was asked, what pruning did, what it is worth.

    One file without scripts or requests: open it, print it, or send it to somebody.

    Example: [b]edgeprune report vgg16-cifar10-imagenet[/b]
    """
    from .. import runs
    from ..report import page, results

    found = results.read(runs.find(run))
    with found.run.lock(runs.TELLING):
        path = page.write(found)
    table = results.comparison(found.run, found)
    if as_json:
        records = {"comparison": table.records(), "notes": list(table.notes)}
        output.show_json({"run": str(found.run.path), "report": str(path)} | records)
        return
    output.show(table)
    output.note(f"the page: {path}")
