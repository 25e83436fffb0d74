"""``hsimap``: the verbs, and how an error becomes one line and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap._version import __version__
from hsimap.cli import (
    _batch,
    _compare,
    _config,
    _convert,
    _evaluate,
    _export,
    _import,
    _inspect,
    _mosaic,
    _predict,
    _print,
    _project,
    _sample,
    _stac,
    _stands,
    _style,
    _train,
    _verify,
)
from hsimap.cli._failures import AGAIN, BUG, INTERRUPTED, Terminated, failure_of

if TYPE_CHECKING:
    from types import FrameType

_YOUNG: Final = 20_000
"""Objects between two searches for garbage: loading a verb makes 100 000 that stay, and a search
every 700, Python's own, costs a tenth of a second."""
_UNFLUSHED: Final = 120
"""Exit code of an interpreter that cannot write out what it printed."""
app = typer.Typer(
    name="hsimap",
    help="Maps of many classes and variables from airborne hyperspectral scenes.",
    epilog="""\b
Start here:
  hsimap sample forest                      write a simulated flight line
  hsimap train                              list the recipes at hand
  hsimap predict forest/scene.tif --out maps

Exit codes: 0 ok, 2 usage, 10 input, 11 scene and model differ, 12 model folder, 20 disk,
21 memory or device, 22 locked, 23 output exists, 30 verification, 40 some lines of a batch
failed, 70 bug, 130 and 143 interrupted (the same command resumes).""",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
VERBS: Final = {
    "train": _train,
    "predict": _predict,
    "batch": _batch,
    "mosaic": _mosaic,
    "evaluate": _evaluate,
    "compare": _compare,
    "inspect": _inspect,
    "verify": _verify,
    "project": _project,
    "style": _style,
    "stands": _stands,
    "convert": _convert,
    "stac": _stac,
    "print": _print,
    "import": _import,
    "export": _export,
    "sample": _sample,
    "config": _config,
}
for _name, _module in VERBS.items():
    _examples = _module.EXAMPLES.replace("\n", "\n  ")
    app.command(_name, epilog=f"\b\nExamples:{_examples}")(_module.run)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"hsimap {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version


def _terminate(signum: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(signum, signal.SIG_IGN)
    raise Terminated


def main() -> None:
    """Run a verb; exit with its code."""
    gc.set_threshold(_YOUNG)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> None:
    """End the process at once: taking a large one apart, object by object, is half a second."""
    atexit._run_exitfuncs()  # noqa: SLF001  # what else ends it in an orderly way
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # whoever read it has gone
            code = code or _UNFLUSHED
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Return the exit code of a command line; what went wrong is one line on standard error."""
    # A file in memory has no place; threads that write maps reset one another's filters.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    try:
        code = app(arguments or ["--help"], prog_name="hsimap", standalone_mode=False) or 0
    except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001  # the outermost line
        code, text = failure_of(error, verbs=frozenset(VERBS))
        if code == BUG:
            traceback.print_exception(error)
        _say(text)
        return code
    if code == INTERRUPTED:  # typer makes an exit code of Ctrl-C by itself
        _say(AGAIN)
    return int(code)


def _say(text: str) -> None:
    plain = " ".join(str(text).split())
    typer.echo(f"hsimap: {plain}", err=True)
