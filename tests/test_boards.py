"""boards.yaml, a user's own board file, and boards in project.json."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tinykiln.boards import Board, board_from_json, board_to_json, find_board, read_boards
from tinykiln.data import data_path
from tinykiln.errors import BoardError, ToolError
from tinykiln.graph import plain_name

MINE: dict[str, Any] = {
    "title": "My board",
    "cpu": "cortex-m4",
    "fpu": "fpv4-sp-d16",
    "isa": ["armv7em_dsp"],
    "memory": {"flash": {"origin": 0x08000000, "size": "512K"}, "ram": {"origin": 0x20000000, "size": 131072}},
    "console": {
        "driver": "stm32f4",
        "base": 0x40004400,
        "clock_hz": 42000000,
        "baud": 115200,
        "tx": "PA2",
        "rx": "PA3",
        "function": 7,
    },
    "counter": {"source": "dwt", "unit": "cycles", "hz": 168000000},
}


def board_file(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(path: str, value: Any) -> dict[str, Any]:
    """MINE with the field `path` (a.b.c) set to `value`, or removed where `value` is ...."""
    entry = copy.deepcopy(MINE)
    *parents, last = path.split(".")
    place = entry
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return entry


def refusal(folder: Path, entry: object, name: str = "mine") -> str:
    with pytest.raises(BoardError) as caught:
        read_boards(board_file(folder, yaml.safe_dump({name: entry})))
    return str(caught.value).replace(str(folder) + "/", "")


def test_the_boards_of_the_first_release_are_known() -> None:
    assert list(read_boards()) == [
        "qemu_mps2_an385",
        "qemu_mps2_an386",
        "qemu_mps2_an500",
        "qemu_mps3_an547",
        "qemu_netduinoplus2",
        "nucleo_f446re",
    ]


def test_values_are_read() -> None:
    board = find_board("qemu_netduinoplus2")
    assert (board.cpu, board.fpu, board.isa) == ("cortex-m4", "fpv4-sp-d16", ("armv7em_dsp",))
    assert (board.region("flash").origin, board.region("flash").size) == (0x08000000, 1024 * 1024)
    assert (board.region("ram").origin, board.region("ram").size) == (0x20000000, 128 * 1024)
    assert (board.console.tx, board.console.rx, board.console.function) == ("PB6", "PB7", 7)
    assert board.emulator is not None and board.emulator.machine == "netduinoplus2"


@pytest.mark.parametrize(
    ("name", "unit", "step"),
    [
        ("qemu_mps2_an386", "instructions", 40.0),
        ("qemu_mps3_an547", "instructions", 31.25),
        ("qemu_netduinoplus2", "instructions", 1000 / 168),
        ("nucleo_f446re", "cycles", 1.0),
    ],
)
def test_a_tick_has_the_right_step(name: str, unit: str, step: float) -> None:
    counter = find_board(name).counter
    assert counter.unit == unit
    assert counter.step == pytest.approx(step, rel=1e-15)


@pytest.mark.parametrize("board", read_boards().values(), ids=lambda board: board.name)
def test_json_brings_a_board_back(board: Board) -> None:
    assert board_from_json(board_to_json(board)) == board


def test_damaged_json_is_refused() -> None:
    entry = board_to_json(find_board("nucleo_f446re"))
    del entry["cpu"]
    with pytest.raises(BoardError, match=r"project\.json, board nucleo_f446re, field cpu"):
        board_from_json(entry)
    with pytest.raises(BoardError, match="expected a board with a name"):
        board_from_json([])


def test_a_file_of_the_users_adds_boards(tmp_path: Path) -> None:
    path = board_file(tmp_path, yaml.safe_dump({"mine": MINE}))
    board = find_board("mine", path)
    assert (board.region("flash").size, board.region("ram").size) == (512 * 1024, 128 * 1024)
    assert (board.emulator, board.usb) == (None, ())
    assert list(read_boards(path)) == [*read_boards(), "mine"]


def test_an_unknown_board_names_the_known_and_the_nearest() -> None:
    with pytest.raises(BoardError) as caught:
        find_board("nucleo_f446")
    assert str(caught.value) == (
        "no board is called 'nucleo_f446'; did you mean nucleo_f446re?\n"
        "  where: known boards: qemu_mps2_an385, qemu_mps2_an386, qemu_mps2_an500, qemu_mps3_an547, "
        "qemu_netduinoplus2, nucleo_f446re\n"
        "  next:  choose one of them, or describe yours in a file and pass it with --boards"
    )


WRONG = [
    ("cpu", "cortex-m99", "expected one of cortex-m3, cortex-m4, cortex-m7, cortex-m33, cortex-m55, got 'cortex-m99'"),
    ("cpu", ..., "the field is missing"),
    ("colour", "red", "unknown field"),
    ("flash", ["openocd"], "unknown field"),
    ("title", 7, "expected 1 to 80 letters, digits, spaces and _.:;,/+=()@<>[]-, got 7"),
    ("title", "odd */ title", "expected 1 to 80 letters, digits, spaces and _.:;,/+=()@<>[]-, got 'odd */ title'"),
    ("title", "", "expected 1 to 80 letters, digits, spaces and _.:;,/+=()@<>[]-, got ''"),
    ("fpu", "fpv5-d16", "expected one of none, fpv4-sp-d16 for a cortex-m4, got 'fpv5-d16'"),
    ("isa", "armv7em_dsp", "expected a list, got 'armv7em_dsp'"),
    ("memory", ["flash"], "expected memory regions by name, got ['flash']"),
    ("memory.ram", ..., "a region ram is missing"),
    ("memory.ram.size", "128Q", "expected bytes, or a text such as 128K or 4M, got '128Q'"),
    ("memory.ram.size", 0, "expected bytes, or a text such as 128K or 4M, got 0"),
    ("memory.ram.size", True, "expected bytes, or a text such as 128K or 4M, got True"),
    ("memory.ram.origin", "20000000", "expected a 32-bit address such as 0x20000000, got '20000000'"),
    ("memory.ram.origin", 1 << 32, "expected a 32-bit address such as 0x20000000, got 4294967296"),
    ("memory.ram.lenght", 5, "unknown field"),
    ("console.driver", "pl011", "expected one of cmsdk, stm32f4, got 'pl011'"),
    ("console.base", 0x40004000, "expected one of 0x40011000, 0x40004400, "),
    ("console.baud", 4000000, "4000000 baud cannot be made from 42000000 Hz; the nearest is 2625000"),
    ("console.tx", "A2", "expected a pin such as PA2, got 'A2'"),
    ("console.function", 16, "expected a whole number from 0 to 15, got 16"),
    ("console.rx", ..., "the field is missing"),
    ("counter.source", "rtc", "expected one of systick, dwt, got 'rtc'"),
    ("counter.unit", "instructions", "instructions are counted in the emulator"),
    ("usb", ["0483-374b"], 'expected a text such as "0483:374b"'),
]


@pytest.mark.parametrize(("path", "value", "what"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_a_wrong_field_is_named(tmp_path: Path, path: str, value: Any, what: str) -> None:
    message = refusal(tmp_path, changed(path, value))
    assert message.startswith(what)
    assert "where: my.yaml, board mine, field " + path.removesuffix(".ram" if value is ... else "") in message


def test_a_misspelt_field_is_recognised(tmp_path: Path) -> None:
    assert refusal(tmp_path, changed("memory.ram.orign", 5)) == (
        "unknown field; did you mean origin?\n"
        "  where: my.yaml, board mine, field memory.ram.orign\n"
        "  next:  fields here: origin, size"
    )


def test_regions_must_not_overlap_or_leave_the_address_space(tmp_path: Path) -> None:
    assert refusal(tmp_path, changed("memory.ram.origin", 0x0807FFFF)).startswith("regions flash and ram overlap")
    assert refusal(tmp_path, changed("memory.ram.origin", 0xFFFFFFF0)).startswith("the region ends at 0x10001fff0")
    touching = changed("memory.ram.origin", 0x08080000)
    assert "mine" in read_boards(board_file(tmp_path, yaml.safe_dump({"mine": touching})))


@pytest.mark.parametrize("name", [
    "text", "data", "bss", "stack", "rodata", "vectors", "note", "comment", "debug_info",
    "origin", "org", "o", "length", "len", "l",
])
def test_regions_are_not_called_as_sections_or_words_of_the_linker(tmp_path: Path, name: str) -> None:
    memory = {**MINE["memory"], name: {"origin": 0x10000000, "size": "64K"}}
    assert refusal(tmp_path, changed("memory", memory)) == (
        f"a region cannot be called {name}: this is a section or word of the linker\n"
        f"  where: my.yaml, board mine, field memory.{name}\n"
        "  next:  rename it"
    )
    memory = {**MINE["memory"], f"{name}1": {"origin": 0x10000000, "size": "64K"}}
    if name != "debug_info":
        assert "mine" in read_boards(board_file(tmp_path, yaml.safe_dump({"mine": changed("memory", memory)})))


def test_titles_are_those_that_fit_a_comment(tmp_path: Path) -> None:
    entry = board_to_json(find_board("nucleo_f446re"))
    texts = [f"a{chr(i)}b" for i in (*range(0x100), 0x3B1, 0x4E2D)] + ["x" * 80, "x" * 81]
    refused = []
    for text in texts:
        try:
            assert board_from_json(entry | {"title": text}).title == text
        except BoardError:
            refused.append(text)
    assert refused == [text for text in texts if plain_name(text) != text]


def test_an_emulated_board_is_counted_by_systick(tmp_path: Path) -> None:
    entry = changed("counter.unit", "instructions") | {"emulator": {"machine": "netduinoplus2"}}
    assert "the emulator has no dwt" in refusal(tmp_path, entry)
    entry["counter"]["source"] = "systick"
    assert "mine" in read_boards(board_file(tmp_path, yaml.safe_dump({"mine": entry})))
    assert "field emulator.machine" in refusal(tmp_path, entry | {"emulator": {}})


def test_files_that_hold_no_boards_are_refused(tmp_path: Path) -> None:
    cases = {"[1, 2]": "expected boards by name", "a: [": "not a YAML file", "&a [*a]": "expected boards by name"}
    for text, what in cases.items():
        with pytest.raises(BoardError, match=what):
            read_boards(board_file(tmp_path, text))
    with pytest.raises(BoardError, match="cannot read the board file"):
        read_boards(tmp_path / "missing.yaml")


def test_names_are_not_lost_or_replaced(tmp_path: Path) -> None:
    text = yaml.safe_dump({"mine": MINE})
    with pytest.raises(BoardError, match="mine stands here twice"):
        read_boards(board_file(tmp_path, text + text))
    assert "TinyKiln has a board of this name" in refusal(tmp_path, MINE, "nucleo_f446re")
    assert "a board's name has small letters" in refusal(tmp_path, MINE, "My-Board")


def test_a_missing_data_file_is_told() -> None:
    with pytest.raises(ToolError, match=r"the installation lacks nothing\.yaml"):
        data_path("nothing.yaml")
