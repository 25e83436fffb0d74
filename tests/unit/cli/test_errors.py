"""How an error becomes one line and an exit code."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import typer

from hsimap import errors
from hsimap.cli import _main
from hsimap.errors import HsimapError

CODES = {
    "UsageError": 2,
    "InputError": 10,
    "MismatchError": 11,
    "BundleError": 12,
    "StorageError": 20,
    "ResourceError": 21,
    "LockedError": 22,
    "OutputExistsError": 23,
    "VerificationError": 30,
    "BatchError": 40,
}


def leaves(base):
    return {leaf.__name__: leaf for leaf in base.__subclasses__()}


@pytest.fixture
def exit_code_of(monkeypatch):
    """Run a command line whose only verb raises what is given."""

    def run(error):
        def app(*args, **options):
            raise error

        monkeypatch.setattr(_main, "app", app)
        return _main.run(["verb"])

    return run


def test_the_codes_are_those_of_the_design_and_none_is_left_out():
    assert {name: leaf.exit_code for name, leaf in leaves(HsimapError).items()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_a_deliberate_error_is_one_line(exit_code_of, capsys, name):
    error = getattr(errors, name)("line.tif holds 3 bands,\n  the model needs 4; use another")
    assert exit_code_of(error) == CODES[name]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "hsimap: error: line.tif holds 3 bands, the model needs 4; use another\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 21, "--memory"),
        (
            OSError(errno.ENOSPC, "No space left on device", "maps/a.tif"),
            20,
            "maps/a.tif: No space",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 20, "the disk: Read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "maps"), 20, "maps: Permission denied"),
    ],
)
def test_what_the_system_refuses_is_one_line(exit_code_of, capsys, error, code, words):
    assert exit_code_of(error) == code
    said = capsys.readouterr().err
    assert said.startswith("hsimap: error: ")
    assert said.count("\n") == 1
    assert words in said


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(errno.ENOENT, "gone", "x")])
def test_anything_else_is_a_bug_with_its_traceback(exit_code_of, capsys, error):
    assert exit_code_of(error) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("hsimap: error: this is a bug")


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (_main.Terminated(), 143)])
def test_an_interruption_says_how_to_go_on(exit_code_of, capsys, stop, code):
    assert exit_code_of(stop) == code
    assert "run the same command again to resume" in capsys.readouterr().err


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (_main.Terminated(), 143)])
def test_an_error_that_a_stop_left_behind_is_the_stop(exit_code_of, capsys, stop, code):
    error = RuntimeError("release unlocked lock")
    error.__context__ = stop
    assert exit_code_of(error) == code
    said = capsys.readouterr().err
    assert "run the same command again to resume" in said
    assert "Traceback" not in said


def test_an_exit_code_of_a_verb_is_kept(monkeypatch):
    single = typer.Typer()

    @single.command()
    def verb(code: int):
        raise typer.Exit(code)

    monkeypatch.setattr(_main, "app", single)
    assert _main.run(["5"]) == 5
    assert _main.run(["0"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], ["'SCENE'", "see hsimap predict --help"]),
        (["predict", "a.tif"], ["'--out'", "see hsimap predict --help"]),
        (["predict", "a.tif", "--out", "m", "--tile", "-3"], ["--tile", "1"]),
        (["predict", "a.tif", "--out", "m", "--runtime", "caffe"], ["caffe", "onnx"]),
        (["predict", "a.tif", "--out", "m", "--oops"], ["--oops"]),
        (["nothing"], ["nothing", "see hsimap --help"]),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_help_is(capsys, arguments, words):
    assert _main.run(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("hsimap: error: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_no_arguments_is_help(capsys):
    assert _main.run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 143), ("SIGINT", 130)])
def test_signals_unwind_the_stack(name, code):
    program = (
        "import os, signal, sys\n"
        "from hsimap.cli import _main\n"
        "def app(*args, **options):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), signal.{name})\n"
        "        signal.pause()\n"
        "    finally:\n"
        "        print('unwound')\n"
        "_main.app = app\n"
        "_main.main()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code
    assert ran.stdout == "unwound\n"
    assert ran.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_bug():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hsimap", "--help"]
    try:
        ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert "Traceback" not in ran.stderr
    assert ran.returncode not in {0, 70, -signal.SIGPIPE}
