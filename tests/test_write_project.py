"""Writing projects, all or nothing, again into the same folder, and reading them back."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from firmware_projects import BOARD, model_file, tree, write
from tinykiln.errors import BoardError, ProjectError, TinyKilnError
from tinykiln.project import read_project

ROOT = Path(__file__).resolve().parents[1]
DATE_OR_TIME = re.compile(r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}\b|\b[0-9]{2}:[0-9]{2}:[0-9]{2}\b")
GENERATED = ("model/", "crt/", "tests/golden.npz", "project.json")
DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_file(tmp_path / "models")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder; nothing but the project may appear in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(TinyKilnError) as caught:
        action()
    return str(caught.value)


# ---- Failures ----

armed: list[Callable[[str, tuple[Any, ...]], None]] = []
"""What is called at every audit event; a hook cannot be removed, so there is one that asks here."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for function in armed:
        function(event, arguments)


sys.addaudithook(_hook)


class Fault:
    """Raises `error` at change number `at` to the files under `folder`: open for writing, mkdir, rename."""

    def __init__(self, folder: Path, at: int, error: BaseException) -> None:
        self.folder, self.at, self.error, self.seen = str(folder), at, error, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "os.rename"
            or (event == "os.mkdir" and not os.path.lexists(arguments[0]))
            or (event == "open" and bool(int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)))
        )
        if writes and str(arguments[0]).startswith(self.folder):
            self.seen += 1
            if self.seen == self.at:
                raise self.error

    def __enter__(self) -> Fault:
        armed.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        armed.remove(self)


def fail_everywhere(action: Callable[[], object], folder: Path, error: BaseException) -> Iterator[BaseException]:
    """Does the action again and again, each time failing one change later, and yields what it raised."""
    for at in range(1, 1000):
        with Fault(folder, at, error) as fault:
            try:
                action()
            except (ProjectError, KeyboardInterrupt) as raised:
                yield raised
        if fault.seen < at:
            assert at > 50, "a project has more files than that"
            return
    raise AssertionError("the action never came to its end")


FULL_TEXT = """cannot write the project: No space left on device
  where: {}
  next:  nothing was changed; free some space or choose another folder"""


@pytest.mark.parametrize("error", [DISK_FULL, KeyboardInterrupt()], ids=["disk full", "interrupted"])
@pytest.mark.parametrize("target", ["new/folders/fw", "."])
def test_a_failed_first_generation_leaves_nothing(model: Path, place: Path, target: str, error: BaseException) -> None:
    to = place / target
    for raised in fail_everywhere(lambda: write(model, to), place, error):
        assert tree(place) == {}
        assert type(raised) is KeyboardInterrupt or str(raised) == FULL_TEXT.format(to)
    assert read_project(to).model.name == "small"


@pytest.mark.parametrize("error", [DISK_FULL, KeyboardInterrupt()], ids=["disk full", "interrupted"])
def test_a_failed_regeneration_leaves_the_old_project(model: Path, place: Path, error: BaseException) -> None:
    to = place / "fw"
    write(model, to)
    (to / "model" / "stale.c").write_text("old")
    (to / "board" / "board.c").unlink()  # will be missing, so a regeneration brings it back
    shutil.rmtree(to / "drivers")
    before = tree(place)
    newer = model_file(model.parent, seed=4)
    for raised in fail_everywhere(lambda: write(newer, to), place, error):
        assert tree(place) == before
        assert type(raised) is KeyboardInterrupt or str(raised) == FULL_TEXT.format(to)
    assert tree(place) != before


@pytest.mark.parametrize("golden", [b"new", None])
def test_interrupted_right_after_any_rename(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch, golden: bytes | None
) -> None:
    to, rename = place / "fw", Path.rename
    write(model, to)
    shutil.rmtree(to / "drivers")
    (to / "board" / "board.c").unlink()
    before = tree(place)
    calls = [0]

    def interrupted(path: Path, target: Path) -> Path:
        calls[0] += 1
        moved = rename(path, target)
        if calls[0] == fail_at:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    newer, fail_at = model_file(model.parent, seed=4), 1
    while True:
        calls[0] = 0
        try:
            write(newer, to, golden=golden)
        except KeyboardInterrupt:
            assert tree(place) == before, f"after rename {fail_at}"
        else:
            break
        fail_at += 1
    assert fail_at > 10
    assert (to / "tests" / "golden.npz").exists() == (golden is not None)


@pytest.mark.parametrize("limit", [0, 100, 2000, 6000])
@pytest.mark.parametrize("exists", [False, True])
def test_writes_that_stop_short(model: Path, place: Path, limit: int, exists: bool) -> None:
    to = place / "fw"
    if exists:
        write(model, to)
    before, old = tree(place), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        text = refusal(lambda: write(model, to, golden=bytes(10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert text == FULL_TEXT.replace("No space left on device", "File too large").format(to)
    assert tree(place) == before


def unprivileged() -> list[str]:
    """A command's prefix: for root, one that takes away the right to pass over file modes."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("run as root, and setpriv (util-linux) is not installed")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def generate(model: Path, to: str, cwd: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*more, sys.executable, "-m", "tinykiln", "generate", str(model), "--board", BOARD, "-o", to]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)


def test_read_only_parent(model: Path, place: Path) -> None:
    place.chmod(0o555)
    done = generate(model, str(place / "fw"), place, *unprivileged())
    place.chmod(0o755)
    assert (done.returncode, done.stderr) == (1, "error: cannot write the project: Permission denied\n"
        f"  where: {place}/fw\n  next:  nothing was changed; free some space or choose another folder\n")
    assert tree(place) == {}


def test_unreadable_parent(model: Path, place: Path) -> None:
    place.chmod(0)
    done = generate(model, str(place / "fw"), model.parent, *unprivileged())
    place.chmod(0o755)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: cannot write the project: Permission denied")


# ---- Targets ----


def test_the_target_is_a_file(model: Path, place: Path) -> None:
    (place / "fw").write_text("mine")
    before = tree(place)
    assert refusal(lambda: write(model, place / "fw")) == (
        f"{place}/fw exists and is no firmware project\n  next:  choose a new folder, or remove this one yourself"
    )
    assert tree(place) == before


def test_the_target_lies_in_a_file(model: Path, place: Path) -> None:
    (place / "file").write_text("mine")
    before = tree(place)
    text = refusal(lambda: write(model, place / "file" / "fw"))
    assert text == FULL_TEXT.replace("No space left on device", "Not a directory").format(place / "file" / "fw")
    assert tree(place) == before


def test_the_target_has_other_files(model: Path, place: Path) -> None:
    (place / "notes.txt").write_text("mine")
    before = tree(place)
    assert refusal(lambda: write(model, place)) == (
        f"{place} exists and is no firmware project\n  next:  choose a new folder, or remove this one yourself"
    )
    assert tree(place) == before


@pytest.mark.parametrize("to", [".", "fw", "./fw/", "a/b/fw", "../place/fw", "fw with spaces", "прошивка-ß", "-o"])
def test_relative_targets(model: Path, place: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.chdir(place)
    inode = place.stat().st_ino
    project = write(model, Path(to))
    assert project.path == Path(to)
    assert read_project(Path(to)) == project
    assert place.stat().st_ino == inode, "whoever stands in the folder must not stand outside it afterwards"
    assert [path for path in place.rglob(".*") if path.name not in (".github", ".gitignore")] == []


def test_an_empty_folder_is_filled(model: Path, place: Path) -> None:
    (place / "fw").mkdir()
    place.chmod(0o555)  # the folder alone must be enough
    done = generate(model, str(place / "fw"), place, *unprivileged())
    place.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(tree(place / "fw"))[:2] == [".github", ".github/workflows"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_the_target_stays_a_link(model: Path, place: Path, exists: bool) -> None:
    (place / "link").symlink_to("real")
    if exists:
        (place / "real").mkdir()
    for _ in range(2):
        write(model, place / "link")
        assert (place / "link").is_symlink()
        assert read_project(place / "real").model.name == "small"


def test_a_link_in_place_of_a_generated_folder_is_replaced_and_not_followed(model: Path, place: Path) -> None:
    write(model, place / "fw")
    shutil.move(place / "fw" / "crt", place / "elsewhere")
    (place / "fw" / "crt").symlink_to(place / "elsewhere")
    before = tree(place / "elsewhere")
    write(model, place / "fw")
    assert not (place / "fw" / "crt").is_symlink()
    assert tree(place / "elsewhere") == before == tree(place / "fw" / "crt")


def test_links_of_the_user_stay(model: Path, place: Path) -> None:
    write(model, place / "fw")
    (place / "fw" / "src" / "main.c").rename(place / "main.c")
    (place / "fw" / "src" / "main.c").symlink_to("../../main.c")
    (place / "fw" / "drivers").rename(place / "drivers")
    (place / "fw" / "drivers").symlink_to("../drivers")
    before = tree(place)
    write(model, place / "fw")
    assert tree(place) == before


def test_a_link_to_itself(model: Path, place: Path) -> None:
    (place / "fw").symlink_to("fw")
    before = tree(place)
    assert refusal(lambda: write(model, place / "fw")).startswith("cannot write the project: ")
    assert tree(place) == before


# ---- Regeneration ----


def is_generated(path: str) -> bool:
    return path.startswith(GENERATED) or path in ("model", "crt")


def test_a_regeneration_keeps_what_is_the_users(model: Path, place: Path) -> None:
    to = place / "fw"
    write(model, to)
    for path, (mode, data) in tree(to).items():
        if stat.S_ISREG(mode) and not is_generated(path):
            (to / path).write_bytes(data + b"/* mine */")
    (to / "src" / "extra.c").write_text("mine too")
    (to / "build").mkdir()
    (to / "build" / "firmware.elf").write_text("built")
    before = tree(to)
    write(model_file(model.parent, seed=4), to, golden=b"newer vectors")
    after = tree(to)
    assert {path for path in after if not is_generated(path)} == {path for path in before if not is_generated(path)}
    assert [path for path in before if not is_generated(path) and after[path] != before[path]] == []
    assert after["tests/golden.npz"][1] == b"newer vectors"
    for path in ("project.json", "model/small.c", "model/small.h", "model/small.tflite", "model/small_weights.h"):
        assert after[path] != before[path], path


def test_a_regeneration_equals_a_first_generation(model: Path, place: Path) -> None:
    to, newer = place / "fw", model_file(place / "newer", seed=4)
    write(model, to)
    for path in ("model/stale.c", "crt/kernels/stale_s8.c", "crt/include/crt/stale.h"):
        (to / path).write_text("stale")
    for path in ("src/main.c", ".gitignore", "board/linker.ld"):
        (to / path).unlink()
    for path in ("drivers", ".github", "tests", "model"):
        shutil.rmtree(to / path)
    write(newer, to)
    write(newer, place / "fresh")
    changed = ("README.md",)  # names sizes of the model; it has been the user's since
    fresh, again = tree(place / "fresh"), tree(to)
    assert sorted(fresh) == sorted(again)
    assert [path for path in fresh if fresh[path] != again[path] and path not in changed] == []


def test_golden_vectors_of_another_model_do_not_stay(model: Path, place: Path) -> None:
    write(model, place / "fw")
    write(model_file(model.parent, seed=4), place / "fw", golden=None)
    assert not (place / "fw" / "tests" / "golden.npz").exists()


@pytest.mark.parametrize(("what", "was", "now"), [
    ("board", BOARD, "qemu_mps2_an385"), ("template", "zephyr_of_old", "bare_metal"), ("model", "small", "other"),
])
def test_another_board_template_or_model_is_refused(model: Path, place: Path, what: str, was: str, now: str) -> None:
    to = place / "fw"
    write(model, to)
    if what == "template":
        entry = json.loads((to / "project.json").read_text())
        (to / "project.json").write_text(json.dumps(entry | {"template": was}))
    before = tree(place)
    other = model_file(model.parent, name="other" if what == "model" else "small")
    assert refusal(lambda: write(other, to, board=now if what == "board" else BOARD)) == (
        f"{to} was generated for the {what} {was}, not {now}\n"
        f"  where: {to}/project.json\n"
        f"  next:  generate for {now} into a new folder: the files that became yours here would not fit it"
    )
    assert tree(place) == before


def test_a_board_that_is_described_anew_is_refused(model: Path, place: Path) -> None:
    to = place / "fw"
    write(model, to)
    entry = json.loads((to / "project.json").read_text())
    entry["board"]["console"]["baud"] = 115200
    (to / "project.json").write_text(json.dumps(entry))
    before = tree(place)
    assert refusal(lambda: write(model, to)) == (
        f"the board {BOARD} is described in another way now than when {to} was generated\n"
        f"  where: {to}/project.json, field board\n"
        "  next:  generate into a new folder: board/ and CMakeLists.txt became yours here and would not fit it"
    )
    assert tree(place) == before


@pytest.mark.parametrize("name", ["unknown", "", "..", "bare_metal/{{cookiecutter.project}}"])
def test_unknown_template(model: Path, place: Path, name: str) -> None:
    assert refusal(lambda: write(model, place / "fw", template=name)) == (
        f"there is no project template '{name}'\n  next:  one of: bare_metal"
    )
    assert tree(place) == {}


# ---- Same inputs, same bytes ----


def test_two_processes_write_the_same_bytes(model: Path, place: Path) -> None:
    first = generate(model, "one", place, PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    copy = model_file(place / "ein anderer Ort")
    second = generate(copy, "deep/er/two", place, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C.UTF-8")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert tree(place / "one") == tree(place / "deep" / "er" / "two")


def test_no_host_paths_or_dates(model: Path, place: Path) -> None:
    done = generate(model, "fw", place)
    assert done.returncode == 0, done.stderr
    golden = (place / "fw" / "tests" / "golden.npz").read_bytes()
    assert {info.date_time for info in zipfile.ZipFile(io.BytesIO(golden)).infolist()} == {(1980, 1, 1, 0, 0, 0)}
    hosts = [str(path).encode() for path in (place, place.parent, ROOT, Path(sys.prefix))]
    for path, (_, data) in tree(place / "fw").items():
        assert not any(host in data for host in hosts), path
        if not path.endswith((".tflite", ".npz")):
            assert not DATE_OR_TIME.search(data.decode()), path


# ---- project.json ----


def test_round_trip(model: Path, place: Path) -> None:
    project = write(model, place / "fw")
    assert read_project(place / "fw") == project
    assert project.inputs[0].name == "image"
    assert (project.steps[0].name, project.steps[0].macs) == ("conv_0", 6 * 5 * 4 * 3 * 3 * 2)


def test_no_project(place: Path) -> None:
    assert refusal(lambda: read_project(place / "fw")) == (
        f"{place}/fw is no firmware project\n  where: {place}/fw/project.json: No such file or directory\n"
        "  next:  make one: `tinykiln generate`"
    )
    (place / "project.json").mkdir()
    assert "project.json: Is a directory\n" in refusal(lambda: read_project(place))


@pytest.mark.parametrize(("text", "why"), [
    ("", "Expecting value: line 1 column 1 (char 0)"),
    ("[]", "the field schema is missing"),
    ("7", "the field schema is missing"),
    ("{}", "the field schema is missing"),
    ('{"schema": "1"}', "schema: expected a whole number, got '1'"),
    ('{"schema": true}', "schema: expected a whole number, got 'True'"),
    ('{"schema": 1}', "the field name is missing"),
    ("[" * 100_000, "maximum recursion depth exceeded"),
    ("\ufeff{}", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
])
def test_damaged_json(place: Path, text: str, why: str) -> None:
    (place / "project.json").write_text(text)
    said = refusal(lambda: read_project(place))
    assert said.startswith(f"project.json is damaged\n  where: {place}/project.json: {why}")
    assert said.endswith(
        "\n  next:  take the file from version control, or generate the project into a new folder"
    )


def test_not_text(place: Path) -> None:
    (place / "project.json").write_bytes(b"\xff\xfe\x00")
    assert refusal(lambda: read_project(place)).startswith("project.json is damaged\n")


def test_another_schema(place: Path) -> None:
    (place / "project.json").write_text('{"schema": 2}')
    assert refusal(lambda: read_project(place)) == (
        f"project.json has schema 2, this tinykiln (0.1.0) reads 1\n  where: {place}/project.json\n"
        "  next:  use the tinykiln that generated the project, or generate it into a new folder"
    )


FIELDS: list[tuple[str, Any, str]] = [
    ("name", 7, "name: expected a text, got '7'"),
    ("template", None, "template: expected a text, got 'None'"),
    ("board", [], "board: expected fields by name, got '[]'"),
    ("model", "x", "model: expected fields by name, got 'x'"),
    ("model.macs", -1, "macs: expected a whole number from 0 to 4611686018427387904, got -1"),
    ("model.macs", 10**30, f"macs: expected a whole number from 0 to 4611686018427387904, got {10**30}"),
    ("model.macs", 1.5, "macs: expected a whole number, got '1.5'"),
    ("model.digest", "sha256:12", "digest: expected sha256: and 64 hexadecimal digits, got 'sha256:12'"),
    ("model.file", "/etc/passwd", "file: expected a path in model/, got '/etc/passwd'"),
    ("model.file", "model/../../x", "file: expected a path in model/, got 'model/../../x'"),
    ("inputs", {}, "inputs: expected a list, got '{}'"),
    ("inputs.0", 5, "the field dtype is missing"),
    ("inputs.0.dtype", "int7", "dtype: expected one of int8, uint8, int32, float32, got 'int7'"),
    ("inputs.0.shape", [1, -6], "shape: expected positive whole numbers, got [1, -6]"),
    ("inputs.0.shape", [2**63], "shape: expected positive whole numbers, got [9223372036854775808]"),
    ("inputs.0.shape", [[1]], "shape: expected positive whole numbers, got [[1]]"),
    ("inputs.0.nbytes", 61, "nbytes: 61 is not the size of int8 [1, 6, 5, 2]"),
    ("inputs.0.scale", float("nan"), "scale: expected a number from 0 on, got nan"),
    ("inputs.0.scale", float("inf"), "scale: expected a number from 0 on, got inf"),
    ("inputs.0.scale", "x" * 100, f"scale: expected a number, got '{'x' * 80}'"),
    ("inputs.0.zero", 0.5, "zero: expected a whole number, got '0.5'"),
    ("steps.0.output", None, "output: expected fields by name, got 'None'"),
    ("steps.1.op", 3, "op: expected a text, got '3'"),
    ("arena_bytes", True, "arena_bytes: expected a whole number, got 'True'"),
    ("weights_bytes", -5, "weights_bytes: expected a whole number from 0 to 4611686018427387904, got -5"),
]


def change(entry: Any, field: str, value: Any) -> None:
    *folders, last = (int(key) if key.isdigit() else key for key in field.split("."))
    for key in folders:
        entry = entry[key]
    entry[last] = value


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write(model_file(folder), folder / "fw")
    return folder / "fw"


@pytest.mark.parametrize(("field", "value", "why"), FIELDS, ids=[f"{field}={str(v)[:9]}" for field, v, _ in FIELDS])
def test_wrong_fields(written: Path, place: Path, field: str, value: Any, why: str) -> None:
    entry = json.loads((written / "project.json").read_text())
    change(entry, field, value)
    (place / "project.json").write_text(json.dumps(entry))
    assert f"where: {place}/project.json: {why}\n" in refusal(lambda: read_project(place))


def test_every_missing_field_is_named(written: Path, place: Path) -> None:
    def fields(entry: Any, path: str = "") -> Iterator[str]:
        for key, value in entry.items() if isinstance(entry, dict) else enumerate(entry):
            if isinstance(entry, dict):
                yield f"{path}{key}"
            if isinstance(value, (dict, list)):
                yield from fields(value, f"{path}{key}.")

    text = (written / "project.json").read_text()
    needed = [f for f in fields(json.loads(text)) if f != "tinykiln" and not f.startswith("board.")]
    assert len(needed) > 40
    for field in needed:
        entry = json.loads(text)
        *folders, last = (int(key) if key.isdigit() else key for key in field.split("."))
        holder = entry
        for key in folders:
            holder = holder[key]
        del holder[last]
        (place / "project.json").write_text(json.dumps(entry))
        assert f"the field {last} is missing\n" in refusal(lambda: read_project(place)), field


def test_a_wrong_board_in_project_json(written: Path, place: Path) -> None:
    entry = json.loads((written / "project.json").read_text())
    entry["board"]["cpu"] = "cortex-m99"
    (place / "project.json").write_text(json.dumps(entry))
    with pytest.raises(BoardError, match="cortex-m99") as caught:
        read_project(place)
    assert caught.value.where == f"{place}/project.json, board {BOARD}, field cpu"


def test_a_damaged_project_is_not_generated_over(model: Path, place: Path) -> None:
    write(model, place / "fw")
    (place / "fw" / "project.json").write_text("{")
    before = tree(place)
    assert refusal(lambda: write(model, place / "fw")).startswith("project.json is damaged\n")
    assert tree(place) == before
