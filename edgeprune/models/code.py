"""A user's own ``FILE.py:FUNCTION``: which code may run, and the copy that a run keeps of it.

A file that is named on the command line may run: whoever types it has it. A run that came from elsewhere
is data: its copy runs only when the SHA-256 of it was allowed on this machine once, by naming the file
itself or by ``edgeprune trust RUN``. What is run is what was hashed: copies are written out anew from the
bytes that were read, without compiled files and without links.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .. import files, runs
from ..errors import EdgepruneError, closest, raised
from ..fetch import home
from ..records import Code, ModelSpec
from ..runs import Run

FROM_HERE = "say its path from here"
MOST_FILES, MOST_BYTES = 200, 4 << 20  # of a file and what it imports from beside it
Bundle = Mapping[str, bytes]  # name below the folder -> content


def is_own(model: str) -> bool:
    """Whether a model's name is the user's own ``FILE.py:FUNCTION``."""
    return ":" in model and not model.startswith(("torchvision/", "timm/")) and not is_onnx(model)


def is_onnx(model: str) -> bool:
    """Whether a model's name is that of an .onnx file: data, which needs nobody's trust."""
    return model.endswith(".onnx")


def parts(model: str) -> tuple[Path, str]:
    """``(file, function)`` of such a name; an .onnx file has no function."""
    if is_onnx(model):
        return files.place(model), ""
    file, _, function = model.rpartition(":")
    return files.place(file), function


def bundle(path: Path) -> Bundle:
    """The file and the modules beside it that it imports, and those that they import."""
    found: dict[str, bytes] = {}
    wanted = [path.name]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = (path.parent / name).read_bytes()
        except OSError as e:
            raise EdgepruneError(
                str(path.parent / name), e.strerror or str(e), "let it be read"
            ) from None
        if len(found) > MOST_FILES or sum(map(len, found.values())) > MOST_BYTES:
            raise EdgepruneError(
                str(path), "imports too much from beside it", "put the network into a folder of its own"
            )  # fmt: skip
        wanted += _beside(path.parent, name, found[name])
    return found


def digest(found: Bundle) -> str:
    """SHA-256 over all names and contents."""
    sha = hashlib.sha256()
    for name in sorted(found):
        sha.update(f"{name}\0{len(found[name])}\0".encode())
        sha.update(found[name])
    return sha.hexdigest()


def allow(found: Bundle, what: str) -> None:
    """This code may run here from now on; a home folder that cannot be written is for this process."""
    sha = digest(found)
    _NOW.add(sha)
    with suppress(EdgepruneError):
        files.write_text(home() / "trusted" / sha, f"{what}\n{runs.now()}\n")


def allowed(found: Bundle) -> bool:
    sha = digest(found)
    return sha in _NOW or (home() / "trusted" / sha).is_file()


_NOW: set[str] = set()  # allowed by this process


def typed(model: str) -> None:
    """A name that was typed now: a file of the user's own may run."""
    if is_own(model):
        path, _ = parts(model)
        if path.is_file() and path.suffix == ".py":
            allow(bundle(path), str(path.resolve()))


def keep(run: Run, spec: ModelSpec) -> Code | None:
    """The run's own copy of the user's file, code or .onnx, with its hash; None where there is none."""
    if not (is_own(spec.model) or is_onnx(spec.model)):
        return None
    return _copy(spec.model, run.code_folder)


def keep_score(run: Run, name: str) -> None:
    """The run's own copy of the criterion ``FILE.py:FUNCTION`` that decides what leaves."""
    there = {
        p.relative_to(run.score_folder).as_posix(): p.read_bytes()
        for p in run.score_folder.rglob("*.py")
    }
    if there != bundle(parts(name)[0]):
        _copy(name, run.score_folder)


def hashed(name: str) -> str:
    """SHA-256 of the code that a ``FILE.py:FUNCTION`` names, with what it imports from beside it."""
    return digest(bundle(parts(name)[0]))


def _copy(name: str, folder: Path) -> Code:
    path, _ = parts(name)
    found = _content(path)
    shutil.rmtree(folder, ignore_errors=True)
    for part, content in found.items():
        files.write_bytes(folder / part, content)
    return Code(file=path.name, sha256=digest(found))


def kept(run: Run, code: Code) -> Bundle:
    """The run's copy, which must be what its spec says."""
    found: dict[str, bytes] = {}
    if is_onnx(code.file):
        return _checked(run, code, _content(run.code_folder / code.file))
    for path in sorted(run.code_folder.rglob("*.py")):
        if len(found) >= MOST_FILES or path.stat().st_size > MOST_BYTES:
            raise EdgepruneError(
                str(run.code_folder), "larger than any run's code", "get the run anew"
            )
        found[path.relative_to(run.code_folder).as_posix()] = path.read_bytes()
    return _checked(run, code, found)


def _content(path: Path) -> Bundle:
    """A file and what belongs to it: the modules that it imports, or an .onnx file's external data."""
    if not is_onnx(path.name):
        return bundle(path)
    from . import onnx

    return onnx.bundle(path)


def _checked(run: Run, code: Code, found: Bundle) -> Bundle:
    if code.file not in found or digest(found) != code.sha256:
        raise EdgepruneError(
            str(run.code_folder), f"its {code.file} is not the one that its spec.json names",
            "get the run anew from where it was made",
        )  # fmt: skip
    return found


@contextmanager
def written_out(found: Bundle) -> Iterator[Path]:
    """The files in a new folder, and nothing else in it."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-code-") as name:
        for part, content in found.items():
            path = Path(name) / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(name)


def build(path: Path, function: str, classes: int, what: str) -> nn.Module:
    """Run the file and call its function, with ``classes`` if it takes them; it must be allowed."""
    with _function(path, function, what) as make:
        takes = inspect.signature(make).parameters
        word = next((w for w in ("classes", "num_classes") if w in takes), None)
        network = make(**({word: classes} if word else {}))
    if not isinstance(network, nn.Module):
        gave = f"{function} gave a {type(network).__name__}, not an nn.Module"
        raise EdgepruneError(what, gave, "let it return the network")
    _check_tensors(network, what)
    return network


def _check_tensors(network: nn.Module, what: str) -> None:
    """Refuse weights that are no dense numbers, before anything is computed with them."""
    for name, t in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(t):
            raise EdgepruneError(
                what, f"{name} is not made yet (a lazy layer)", "call it once on an example first"
            )
        if t.is_meta:
            raise EdgepruneError(what, f"{name} lies on no device (meta)", "build it on the cpu")
        if t.layout != torch.strided:
            raise EdgepruneError(what, f"{name} is sparse", "make it dense: to_dense()")
        if t.is_complex():
            raise EdgepruneError(what, f"{name} is complex", "networks of real weights are pruned")


def function(name: str, option: str) -> Callable[..., Any]:
    """The function of a ``FILE.py:FUNCTION`` that was typed after ``option`` now, and so may run."""
    typed(name)
    path, word = parts(name)
    with _function(path, word, f"{option} {name}") as found:
        return found


@contextmanager
def _function(path: Path, function: str, what: str) -> Iterator[Callable[..., Any]]:
    """Run the file; what its code raises meanwhile is told in one line. It must be allowed."""
    if not path.is_file():
        raise EdgepruneError(what, f"no such file: {path}", FROM_HERE)
    if path.suffix != ".py":  # importlib takes .pyc and .so, too
        raise EdgepruneError(
            what, f"{path.name} is not a Python file", "FILE.py:FUNCTION names one"
        )
    found = bundle(path)
    if not allowed(found):
        raise EdgepruneError(
            what, "its code was never allowed to run on this machine",
            f"read it; then name it with --model {path}:{function}, or: edgeprune trust RUN",
        )  # fmt: skip
    with _importing(path.parent):
        try:
            made = getattr(_module(path, found[path.name]), function, None)
            if not callable(made):
                raise EdgepruneError(what, f"no function {function}", _others(path, function))
            yield made
        except EdgepruneError:
            raise
        except (Exception, SystemExit) as e:  # whatever the user's code raises
            raise EdgepruneError(what, raised(e), f"mend {path.name}") from None


def _module(path: Path, source: bytes) -> ModuleType:
    """The module that these very bytes make."""
    made = importlib.util.spec_from_file_location(path.stem, path)
    if made is None:
        raise EdgepruneError(str(path), "not a Python file", "FILE.py:FUNCTION names one")
    module = importlib.util.module_from_spec(made)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def _others(path: Path, function: str) -> str:
    there = _named(path)
    return closest(function, there) if there else f"{path.name} defines none: add one"


def _named(path: Path) -> list[str]:
    return [
        n.name for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.FunctionDef)
    ]


@contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours; what is compiled goes nowhere, and is found nowhere."""
    before = sys.pycache_prefix
    with tempfile.TemporaryDirectory(prefix="edgeprune-pyc-") as cache:
        sys.pycache_prefix = cache
        sys.path.insert(0, str(folder.resolve()))
        try:
            yield
        finally:
            sys.path.pop(0)
            sys.pycache_prefix = before


def _beside(folder: Path, file: str, source: bytes) -> list[str]:
    """Files below ``folder`` that ``file`` there imports; what stands in no file there is installed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        line = getattr(e, "lineno", None)
        why = f"line {line}: {e.msg}" if isinstance(e, SyntaxError) and line else str(e)
        raise EdgepruneError(
            str(folder / file), f"not readable as Python ({why})", f"mend {file}"
        ) from None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").split(".")[0]} if node.module else set()
            names |= {alias.name for alias in node.names} if node.level else set()
    found = []
    for name in names - {"edgeprune", ""}:
        if (folder / f"{name}.py").is_file():
            found.append(f"{name}.py")
        elif (folder / name / "__init__.py").is_file():
            inside = (folder / name).rglob("*.py")
            found += [p.relative_to(folder).as_posix() for p in inside]
    return found
