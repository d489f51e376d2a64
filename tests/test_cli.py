"""The command line: every verb, exit status, reports, and the exact words of what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from firmware_projects import BOARD, model_file, tree
from real_models import real_model
from tinykiln import cli
from tinykiln.arguments import VERBS
from tinykiln.cli import main
from tinykiln.errors import DeviceError, ToolError
from tinykiln.link import Timeouts
from tinykiln.session import Session

ROOT = Path(__file__).resolve().parents[1]
Captured = pytest.CaptureFixture[str]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tinykiln", *map(str, arguments)]


def tinykiln(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, **options)


def said(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a verb."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_file(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the digits example, built and flashed."""
    folder = tmp_path_factory.mktemp("cli") / "fw"
    model = ROOT / "examples" / "digits" / "digits.tflite"
    assert main(["generate", str(model), "--board", BOARD, "-o", str(folder), "--vectors", "2"]) == 0
    assert main(["flash-and-test", str(folder)]) == 0
    return folder


# ---- Usage ----


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(capsys: Captured, verb: str) -> None:
    status, out, err = said(capsys, verb, "--help")
    assert (status, err) == (0, "")
    assert str(cli.VERBS[verb].__doc__) in re.sub(r"\s+", " ", out)
    assert f"example: tinykiln {verb}" in out
    assert "--json FILE" in out
    for line in re.findall(r"^  -\S+.*$(?:\n {20,}.*)?", out, re.MULTILINE):
        assert re.search(r"\s{2,}\S", line.lstrip()) or "\n" in line, f"an option without a help: {line}"


def test_help(capsys: Captured) -> None:
    status, out, _ = said(capsys, "--help")
    assert status == 0
    for verb, function in cli.VERBS.items():
        assert re.search(rf"^    {verb}\b", out, re.MULTILINE)
        assert str(function.__doc__) in re.sub(r"\s+", " ", out)
    assert set(VERBS) == set(cli.VERBS)


@pytest.mark.parametrize(("arguments", "complaint"), [
    ([], "the following arguments are required: VERB"),
    (["bake"], "argument VERB: invalid choice: 'bake'"),
    (["generate", "m.tflite"], "the following arguments are required: --board, -o/--output"),
    (["plan", "m.tflite"], "the following arguments are required: --board"),
    (["boards", "extra"], "unrecognized arguments: extra"),
    (["boards", "--js", "-"], "unrecognized arguments: --js -"),
    (["run", "fw", "--inputs", "x.npz"], "the following arguments are required: --outputs"),
])
def test_wrong_usage(capsys: Captured, arguments: list[str], complaint: str) -> None:
    status, out, err = said(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: tinykiln")
    assert complaint in err


@pytest.mark.parametrize("count", ["0", "-1", "1001", "99999999999999999999", "9" * 5000, "eight", "1.5", "²", ""])
def test_wrong_number_of_vectors(capsys: Captured, tmp_path: Path, model: Path, count: str) -> None:
    status, out, err = said(capsys, "generate", model, "--board", BOARD, "-o", tmp_path / "fw", f"--vectors={count}")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"tinykiln generate: error: argument --vectors: expected a whole number from 1 to 1000, got {count[:20]!r}"
    )
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize("verb", ["run", "profile", "test", "flash-and-test"])
@pytest.mark.parametrize("time", ["0", "-1", "nan", "inf", "1 s", ""])
def test_wrong_time(capsys: Captured, verb: str, time: str) -> None:
    status, out, err = said(capsys, verb, "fw", f"--timeout={time}")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"tinykiln {verb}: error: argument --timeout: expected a number of seconds above 0, got {time!r}"
    )


def test_version(capsys: Captured) -> None:
    assert said(capsys, "--version") == (0, "tinykiln 0.1.0\n", "")


# ---- Refusals ----


def refused(capsys: Captured, *arguments: object) -> str:
    status, out, err = said(capsys, *arguments)
    assert (status, out) == (1, "")
    return err


def test_missing_model(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "no.tflite"
    for arguments in (["inspect", path], ["plan", path, "--board", BOARD],
                      ["generate", path, "--board", BOARD, "-o", tmp_path / "fw"]):
        err = refused(capsys, *arguments)
        assert err.startswith("error: ")
        assert "No such file or directory" in err
        assert f"  where: {path}\n" in err
    assert tree(tmp_path) == {}


def test_a_folder_as_model(capsys: Captured, tmp_path: Path) -> None:
    err = refused(capsys, "inspect", tmp_path)
    assert err == f"error: {tmp_path.name} is not a file\n  where: {tmp_path}\n  next:  give a model file\n"


def test_no_model(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some text that is long enough")
    assert refused(capsys, "inspect", path) == (
        f"error: notes.txt is not a model of a known format\n  where: {path}\n"
        "  next:  give a TensorFlow Lite file (.tflite); its bytes 4 to 7 are TFL3\n"
    )


def test_a_float_model_lists_all_that_cannot_be_compiled(capsys: Captured) -> None:
    path = real_model("kws_ref_model_float32")
    err = refused(capsys, "inspect", path)
    assert len(re.findall(r"CONV_2D", err)) >= 9, "every convolution is named, not only the first"
    assert "float32" in err
    assert str(path) in err


@pytest.mark.parametrize("verb", ["build", "flash", "profile", "test", "flash-and-test"])
def test_missing_project(capsys: Captured, tmp_path: Path, verb: str) -> None:
    path = tmp_path / "fw"
    assert refused(capsys, verb, path) == (
        f"error: {path} is no firmware project\n  where: {path}/project.json: No such file or directory\n"
        "  next:  make one: `tinykiln generate`\n"
    )


def test_unknown_board_suggests_the_nearest(capsys: Captured, model: Path) -> None:
    err = refused(capsys, "plan", model, "--board", "qemu_mps2_an368")
    assert err.startswith("error: no board is called 'qemu_mps2_an368'; did you mean qemu_mps2_an386?\n")
    assert "known boards: qemu_mps2_an385, qemu_mps2_an386, " in err


def test_unknown_template(capsys: Captured, tmp_path: Path, model: Path) -> None:
    err = refused(capsys, "generate", model, "--board", BOARD, "-o", tmp_path / "fw", "--template", "rtos")
    assert err.startswith("error: there is no project template 'rtos'\n  next:  one of: bare_metal")
    assert not (tmp_path / "fw").exists()


def test_a_traceback_with_debug_only(tmp_path: Path) -> None:
    plain = tinykiln("build", tmp_path)
    debug = tinykiln("build", tmp_path, "--debug")
    assert (plain.returncode, debug.returncode) == (1, 1)
    assert "Traceback" not in plain.stderr
    assert debug.stderr.startswith("Traceback (most recent call last):\n")
    assert f"ProjectError: {tmp_path} is no firmware project" in debug.stderr


@pytest.mark.parametrize(("error", "text"), [
    (KeyError("x"), "error: TinyKiln itself failed: KeyError('x')\n"),
    (PermissionError(13, "Permission denied", "/x"), "error: [Errno 13] Permission denied: '/x'\n"),
])
def test_errors_that_nobody_foresaw(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def fail(path: Path | None) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(cli, "read_boards", fail)
    assert refused(capsys, "boards") == (
        f"{text}  next:  run it again with --debug and report what it prints, if the message does not help\n"
    )
    with pytest.raises(type(error)):
        main(["boards", "--debug"])


# ---- Reports ----


def test_boards(capsys: Captured) -> None:
    status, out, _ = said(capsys, "boards")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["board", "cpu", "flash", "KiB", "RAM", "KiB"]
    assert re.fullmatch(r"nucleo_f446re +cortex-m4 +512 +128  ST Nucleo-F446RE \(STM32F446, Cortex-M4F\)", lines[-1])


def test_boards_of_my_own(capsys: Captured, tmp_path: Path, model: Path) -> None:
    text = (ROOT / "boards.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text("my_board:\n" + re.split(r"^nucleo_f446re:\n", text, flags=re.MULTILINE)[1])
    assert "my_board" in said(capsys, "boards", "--boards", mine)[1]
    status, out, _ = said(capsys, "plan", model, "--board", "my_board", "--boards", mine)
    assert (status, out.splitlines()[0]) == (0, "small on my_board: 2 steps, 2 160 MACs")
    status, *_ = said(capsys, "generate", model, "--board", "my_board", "--boards", mine, "-o", tmp_path / "fw")
    assert status == 0
    mine.unlink()
    assert said(capsys, "build", tmp_path / "fw")[0] == 0, "the project does not need the file any more"
    assert "cannot read the board file" in refused(capsys, "boards", "--boards", mine)


def test_ops(capsys: Captured) -> None:
    status, out, _ = said(capsys, "ops")
    assert status == 0
    assert "CONV_2D            int8, int8, int32 -> int8" in out.splitlines()
    report = json.loads(said(capsys, "ops", "--json", "-")[1])
    assert {"op": "SOFTMAX", "dtypes": ["int8 -> int8"], "optional_inputs": 0} in report["ops"]
    assert "FULLY_CONNECTED    int8, int8[, int32] -> int8" in out.splitlines()
    dense = {"op": "FULLY_CONNECTED", "dtypes": ["int8, int8, int32 -> int8"], "optional_inputs": 1}
    assert dense in report["ops"]


def test_inspect(capsys: Captured, model: Path) -> None:
    status, out, _ = said(capsys, "inspect", model)
    digest = json.loads(said(capsys, "inspect", model, "--json", "-")[1])["model"]["digest"]
    assert status == 0
    assert out == (
        "small\n"
        f"digest: {digest}\n"
        "can be compiled: 2 operators, 2 160 MACs, 120 B of weights\n"
        "largest tensor: 120 B, made by operator 0\n"
        "\n"
        "        name   type          bytes\n"
        "input   image  int8 1x6x5x2     60\n"
        "output  t4     int8 1x6x5x4    120\n"
        "\n"
        "   operator  output        bytes   MACs  weights  tensor\n"
        "0  CONV_2D   int8 1x6x5x4    120  2 160      120  t3\n"
        "1  SOFTMAX   int8 1x6x5x4    120      0        0  t4\n"
    )


@pytest.mark.parametrize("verb", ["inspect", "plan"])
@pytest.mark.parametrize("name", ["vww_96_int8", "kws_ref_model", "pretrainedResnet_quant"])
def test_text_fits_a_terminal(capsys: Captured, verb: str, name: str) -> None:
    arguments = [verb, real_model(name), *(["--board", BOARD] if verb == "plan" else [])]
    out = said(capsys, *arguments)[1]
    assert max(map(len, out.splitlines())) <= 80
    report = json.loads(said(capsys, *arguments, "--json", "-")[1])
    entries = report["operators"] if verb == "inspect" else report["items"]
    names = [entry["output"]["name"] if verb == "inspect" else entry["tensor"] for entry in entries]
    assert max(map(len, names)) > 40, "whole in JSON"
    assert sum(entry["macs"] for entry in report["operators" if verb == "inspect" else "steps"]) > 2_000_000


def test_json_goes_to_a_file_beside_the_text(capsys: Captured, tmp_path: Path) -> None:
    text = said(capsys, "boards")[1]
    path = tmp_path / "report.json"
    assert said(capsys, "boards", "--json", path) == (0, text, "")
    assert path.read_text() == said(capsys, "boards", "--json", "-")[1]
    assert json.loads(path.read_text())["schema"] == 1
    assert sorted(tree(tmp_path)) == ["report.json"]


def test_json_into_a_pipe_and_into_nowhere(tmp_path: Path) -> None:
    assert json.loads(tinykiln("boards", "--json", "/dev/stderr").stderr)["schema"] == 1
    assert tinykiln("boards", "--json", "/dev/null").returncode == 0
    full = tinykiln("boards", "--json", "/dev/full")
    assert (full.returncode, full.stderr) == (
        1, "error: cannot write the report: No space left on device\n  where: /dev/full\n"
    )


def test_json_that_cannot_be_written(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "no" / "report.json"
    status, out, err = said(capsys, "boards", "--json", path)
    assert status == 1
    assert out.startswith("board "), "what was found out is shown all the same"
    assert err == f"error: cannot write the report: No such file or directory\n  where: {path}\n"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "report.json").write_text("old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        status = main(["boards", "--json", str(tmp_path / "report.json")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert status == 1
    assert {path: data for path, (_, data) in tree(tmp_path).items()} == {"report.json": b"old"}


VERBS_OF_A_BUILT_PROJECT = ("build", "flash", "run", "profile", "test", "flash-and-test")


@pytest.mark.parametrize("verb", VERBS_OF_A_BUILT_PROJECT)
def test_stdout_is_pure_json(built: Path, tmp_path: Path, verb: str) -> None:
    files: list[object] = []
    if verb == "run":
        np.savez(tmp_path / "in.npz", image=np.zeros((3, 1, 8, 8, 1), np.int8))
        files = ["--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out"]
    done = tinykiln(verb, built, "--json", "-", *files)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["schema"], report["project"], report["board"]) == (1, "digits", BOARD)
    if verb == "run":
        assert [entry["input"] for entry in report["inferences"]] == ["0", "1", "2"]
        assert all(entry["count"] == 40 * entry["ticks"] > 0 for entry in report["inferences"])
        with np.load(tmp_path / "out") as outputs:
            assert outputs["scores"].shape == (3, 1, 10)
    if verb in ("test", "flash-and-test"):
        assert report["passed"] is True
        assert len(report["inferences"]) == 2


def test_a_failed_test_is_status_1(built: Path, tmp_path: Path) -> None:
    fw = tmp_path / "fw"
    shutil.copytree(built, fw)
    golden = fw / "tests" / "golden.npz"
    with np.load(golden) as file:
        arrays: dict[str, Any] = dict(file)
    arrays["outputs/scores"] = arrays["outputs/scores"] ^ 1
    np.savez(golden, **arrays)
    done = tinykiln("test", fw, "--json", tmp_path / "report.json")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0] == f"digits on {BOARD}: 0 of 2 inferences equal the reference"
    assert done.stdout.splitlines()[-1] == "FAILED"
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is False


@pytest.mark.parametrize("verb", ["run", "profile", "test", "flash-and-test"])
@pytest.mark.parametrize(("option", "seconds"), [([], 120.0), (["--timeout", "0.25"], 0.25)])
def test_the_time_that_an_inference_may_take(
    built: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, verb: str, option: list[str], seconds: float
) -> None:
    def refuse(*arguments: Any) -> Session:
        assert arguments[-1] == Timeouts(inference=seconds)
        raise DeviceError("asked")

    monkeypatch.setattr(cli, "connect", refuse)
    files = ["--inputs", ROOT / "examples/digits/test.npz", "--outputs", built / "out.npz"] if verb == "run" else []
    assert refused(capsys, verb, built, *option, *files) == "error: asked\n"


# ---- Streams and signals ----


def test_golden_vectors_stay_where_litert_is_missing(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(*_: object) -> None:
        raise ToolError("no LiteRT")

    arguments = ["generate", model_file(tmp_path), "--board", BOARD, "-o", tmp_path / "fw"]
    assert said(capsys, *arguments)[0] == 0
    golden = (tmp_path / "fw/tests/golden.npz").read_bytes()
    monkeypatch.setattr(cli, "run_reference", missing)
    status, out, err = said(capsys, *arguments)
    assert (status, err) == (0, "warning: the golden vectors that are there are kept: no LiteRT\n")
    assert out.endswith(f"next: tinykiln flash-and-test {tmp_path}/fw\n")
    assert (tmp_path / "fw/tests/golden.npz").read_bytes() == golden
    status, out, err = said(capsys, *arguments[:-1], tmp_path / "a b")
    assert (status, err) == (0, "warning: no golden vectors, so the project cannot test itself: no LiteRT\n")
    assert out.endswith(f"next: tinykiln build '{tmp_path}/a b'\n")


def test_a_board_without_emulator_is_flashed_by_hand(capsys: Captured, tmp_path: Path) -> None:
    arguments = ["generate", model_file(tmp_path), "--board", "nucleo_f446re", "-o", tmp_path / "fw"]
    assert said(capsys, *arguments)[1].splitlines()[-3:] == [
        f"next: tinykiln build {tmp_path}/fw",
        "      flash build/firmware.elf with the vendor's tool",
        f"      tinykiln test {tmp_path}/fw --port /dev/ttyACM0",
    ]


def test_a_reader_that_goes_away() -> None:
    for arguments, buffered in product(("boards", "boards --json -", "--help", "generate --help"), ("", "-u")):
        line = f"set -o pipefail; {sys.executable} {buffered} -m tinykiln {arguments} | true"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert (done.stderr, done.stdout) == ("", "")
        assert done.returncode in (0, 1)


@pytest.mark.parametrize("arguments", [["boards"], ["boards", "--json", "-"]])
def test_stdout_that_cannot_be_written(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: cannot write to stdout: No space left on device\n")


def test_stdout_that_is_closed() -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m tinykiln boards >&-"], capture_output=True, text=True,
                          timeout=60)
    assert "Traceback" not in done.stderr


def test_interrupted(capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinykiln.project._write_tree", interrupt)
    status, out, err = said(capsys, "generate", model, "--board", BOARD, "-o", tmp_path / "new" / "fw")
    assert (status, out, err) == (130, "", "interrupted\n")
    assert sorted(tree(tmp_path)) == ["small.tflite"]


def test_ctrl_c_while_it_tests(built: Path) -> None:
    master, slave = pty.openpty()
    inputs = ROOT / "examples" / "digits" / "test.npz"
    process = subprocess.Popen(
        command("flash-and-test", built, "--inputs", inputs), stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    text = b""
    for data in read_all(master):
        if b"inference 3 of" in (text := text + data):
            os.killpg(process.pid, signal.SIGINT)
            break
    text = b"".join([text, *read_all(master)])
    os.close(master)
    assert process.wait(timeout=60) == 130
    assert text.endswith(b"interrupted\r\n")
    assert b"Traceback" not in text
    assert [line for line in command_lines() if "qemu" in line and str(built) in line] == [], "the emulator goes too"


def command_lines() -> list[str]:
    """Those of all processes."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines


def terminal_output(arguments: list[object]) -> tuple[int, str]:
    """Exit status, and what a terminal on stderr gets."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    text = b"".join(read_all(master))
    os.close(master)
    return process.wait(timeout=60), text.decode()


def read_all(fd: int) -> Iterator[bytes]:
    while select.select([fd], [], [], 60)[0]:
        try:
            data = os.read(fd, 4096)
        except OSError:  # EIO: nobody has the other end open any more
            return
        if not data:
            return
        yield data


def test_progress_on_a_terminal_only(built: Path) -> None:
    status, text = terminal_output(["flash-and-test", built])
    assert status == 0
    lines = text.split("\r\x1b[K")
    assert lines[0] == ""
    assert [line for line in lines if line.startswith("building")]
    assert "inference 1 of 2" in lines
    assert "inference 2 of 2" in lines
    assert lines[-1].strip() == "", "what comes next starts on an empty line"
    assert tinykiln("flash-and-test", built).stderr == ""


# ---- Time ----


def test_generate_takes_less_than_two_seconds_of_processor_time(tmp_path: Path) -> None:
    model = real_model("vww_96_int8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tinykiln("generate", model, "--board", BOARD, "-o", tmp_path / "fw")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fw" / "tests" / "golden.npz").is_file(), "the golden vectors are part of it"
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert 0.05 < seconds < 2.0
