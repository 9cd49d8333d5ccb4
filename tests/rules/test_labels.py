"""The C core keeps to its own documents: labelled orderings, tables of bytes, what each file may call."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support import layout
from support.pages import Source

import disklog_mp
from disklog_mp import _core
from disklog_mp._pages import format as _page_format

CSRC = Path(disklog_mp.__file__).parent / "csrc"
CC = shutil.which("gcc") or shutil.which("cc")
HEADER = "stable_abi.h"
needs_compiler = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_sources = pytest.mark.skipif(not CSRC.is_dir(), reason="the C sources are not installed")
pytestmark = needs_sources

ORDER = "relaxed|acquire|release|acq_rel|seq_cst"
LISTED = re.compile(rf"^ \*   (\w+:[A-Z]) +\S.*?\(({ORDER})\) +(with .*|alone.*)$", re.M)
ACCESS = re.compile(r"\b(?:LOAD|STORE|SWAP|FENCE|atomic_[a-z_0-9]+)\(")
LABEL = re.compile(r"\bDL_(?:ATOMIC|LABEL)\(")
SILENT = {"dl_ring_format"}  # no other process sees that ring yet


def where(name: str) -> Path:
    """The file of that name, in whichever folder of the C sources."""
    (file,) = CSRC.rglob(name)
    return file


def source(name: str) -> str:
    return where(name).read_text()


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.S)


def argument(text: str, start: int) -> str:
    """What stands between the parenthesis at `start` and its partner."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 1 : at]
    raise ValueError("a parenthesis is not closed")


def code(file: Path) -> str:
    """The text of a file without comments and macros."""
    text = without_comments(file.read_text())
    return re.sub(r"^#define(?:.*\\\n)*.*", "", text, flags=re.M)


def labelled() -> dict[str, set[str]]:
    """Labels in the C files and the orderings of the accesses they stand at."""
    found: dict[str, set[str]] = {}
    for file in c_files():
        text = code(file)
        for match in LABEL.finditer(text):
            label, access = argument(text, match.end() - 1).split(",", 1)
            order = re.search(rf"\b(?:memory_order_)?({ORDER})\b", access)
            assert order or re.match(r"\s*atomic_(?!\w*explicit)", access), f"{label} has no ordering"
            found.setdefault(label.strip(), set()).add(order[1] if order else "seq_cst")
    return found


def c_files() -> list[Path]:
    return sorted(CSRC.rglob("*.[ch]"))


# -- orderings -----------------------------------------------------------------------------------------


def test_every_label_is_in_the_list_and_the_list_has_no_other() -> None:
    """What ring.h argues is what the C files do: the same labels, with the same orderings."""
    listed = {label: {order} for label, order, _ in LISTED.findall(source("ring.h"))}

    assert listed == labelled()


def test_every_label_names_partners_that_exist() -> None:
    """A pair has two ends; an access without a pair says so."""
    listed = LISTED.findall(source("ring.h"))
    labels = {label for label, _, _ in listed}

    for label, _, partners in listed:
        named = set(re.findall(r"\b[a-z]+:[A-Z]\b", partners))
        assert named <= labels, f"{label} names {named - labels}"
        assert named or partners.startswith("alone"), f"{label} has no partner and does not say so"


def test_every_access_to_shared_words_has_a_label() -> None:
    """No atomic access of any C file goes without, but for a ring that no other process sees yet."""
    silent = set()
    for file in c_files():
        text = code(file)
        for match in reversed(list(LABEL.finditer(text))):
            inside = argument(text, match.end() - 1)
            text = text[: match.end()] + text[match.end() + len(inside) :]
        for match in ACCESS.finditer(text):
            function = re.findall(r"^\w[^;{}=]*?\b(\w+)\([^;{}]*\)\n?\s*\{", text[: match.start()], re.M)
            silent.add(function[-1] if function else f"{file.name}: {match[0]}")

    assert silent == SILENT


def test_the_search_for_labels_sees_the_core() -> None:
    """The labels of both kinds are found, in files of all three folders."""
    assert {"claim:E", "commit:A", "space:B", "slot:C", "word:A", "guard:B", "fork:A"} <= set(labelled())


# -- bytes ---------------------------------------------------------------------------------------------


def print_from_c(directory: Path, names: list[str]) -> dict[str, int]:
    """The values of integer expressions as the compiler sees them."""
    program = directory / "facts.c"
    lines = "".join(f'    printf("%llu\\n", (unsigned long long)({name}));\n' for name in names)
    program.write_text(f'#include <stdio.h>\n#include "layout.h"\nint main(void)\n{{\n{lines}}}\n')
    binary = directory / "facts"
    subprocess.run([str(CC), "-std=gnu11", f"-I{CSRC / 'core'}", str(program), "-o", str(binary)], check=True)
    output = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    return dict(zip(names, map(int, output.split()), strict=True))


def table(after: str) -> list[tuple[int, int, str]]:
    """The rows (offset, length, field) of the first table behind that text in layout.h."""
    text = source("layout.h")
    rows = re.split(r"\n \*(?:/|\n)", text[text.index(after) :].split("offset", 1)[1], maxsplit=1)[0]
    return [
        (int(row[0]), int(row[1]), row[2]) for row in re.findall(r"^ \* +(\d+) +(\d+) +(\w+)", rows, re.M)
    ]


@needs_compiler
@pytest.mark.parametrize(
    ("after", "struct_name", "fields"),
    [("A FRAME, 24 bytes", "dl_frame_header", 6), ("The header of a page file.", "dl_page_header", 24)],
)
def test_the_tables_of_bytes_are_what_the_compiler_lays_out(
    tmp_path: Path, after: str, struct_name: str, fields: int
) -> None:
    """Each row of a table in layout.h has the offset and the length of its field."""
    rows = table(after)
    names = []
    for _, _, field in rows:
        names += [f"offsetof(struct {struct_name}, {field})", f"sizeof(((struct {struct_name} *)0)->{field})"]

    found = list(print_from_c(tmp_path, names).values())

    assert len(rows) == fields
    assert [(offset, length) for offset, length, _ in rows] == list(zip(found[::2], found[1::2], strict=True))


def test_a_page_has_the_bytes_of_the_worked_example() -> None:
    """Three records and a group, logged and drained: byte for byte what the table in layout.h says."""
    text = source("layout.h")
    rows = re.findall(r"^ \* +(\d+) +(\d+)  ([0-9a-f]+(?:\*\d+)?) ", text[text.index("AN EXAMPLE") :], re.M)
    page = _page_format.pack(_page_format.PageHeader(b"L" * 16, 1, 0, 0, 7, 0, 0, 0, 0, 4096, 0, "name"))
    ring = Source(salt=7)
    time = 1764262800000000000
    for place, (data, tag) in enumerate([(b"one", 20), (b"", 0), (b"x" * 40, 0)]):
        ring.producer.try_record(data, tag, _core.KIND_RECORD, time + place, 4711)
    ring.producer.try_group((b"four", b"fives"), 0, time + 3, 4711)
    page += bytes(ring.drain().data)

    told = b""
    for offset, length, digits in rows:
        assert int(offset) == len(page[:4096]) + len(told)
        repeated, _, times = digits.partition("*")
        told += bytes.fromhex(repeated) * int(times or 1)
        assert len(told) == int(offset) - 4096 + int(length)
    assert page[4096:] == told


@needs_compiler
def test_the_control_block_is_where_the_table_says(tmp_path: Path) -> None:
    """The first field of each row has the row's offset; what Python and the tests know fits."""
    text = source("layout.h")
    rows = re.findall(
        r"^ \* +(\d+)  (\w+)", text[text.index("/* The control block.") :].split("*/", 1)[0], re.M
    )
    names = [field.replace("error_", "error_time") for _, field in rows]
    told = {
        "bell": layout.BELL,
        "space_wanted": layout.SPACE_WANTED,
        "space": _core.SPACE,
        "done_wanted": layout.DONE_WANTED,
        "done": _core.DONE,
        "error_text": layout.ERROR_TEXT,
        "options": layout.OPTIONS,
    }
    places = {
        "DL_CONTROL_OFFSET": layout.CONTROL,
        "DL_SLOTS_OFFSET": layout.SLOTS_OFFSET,
        "sizeof(struct dl_slot)": layout.SLOT_LENGTH,
        "offsetof(struct dl_slot, logged)": layout.LOGGED,
        "DL_MAP_OFFSET": layout.MAP_OFFSET,
    }
    asked = [f"offsetof(struct dl_control, {name})" for name in [*names, *told]]

    found = print_from_c(tmp_path, [*asked, *places])

    assert {name: found[name] for name in places} == places
    assert len(rows) == 11
    assert [int(offset) for offset, _ in rows] == [
        found[f"offsetof(struct dl_control, {name})"] for name in names
    ]
    for name, offset in told.items():
        assert offset == 4096 + found[f"offsetof(struct dl_control, {name})"]


@needs_compiler
def test_page_headers_are_built_where_the_core_reads_them(tmp_path: Path) -> None:
    """Every field that Python packs stands at the offset C gives it; the mutable line's as well."""
    page = _page_format.PageHeader(b"L" * 16, 1, 32, 3, 4, 5, 6, 7, 8, 4128, 10, "name")
    packed = _page_format.pack(page)
    line = ["watermark", "records", "last_time", "state", "bell", "data_crc", "seal_crc"]
    fields = [field for field in _page_format.PageHeader._fields if field not in ("log_id", "name")]
    names = [
        f"offsetof(struct dl_page_header, {field})" for field in [*fields, *line, "log_id", "name", "crc"]
    ]
    sizes = [f"sizeof(((struct dl_page_header *)0)->{field})" for field in fields]

    found = print_from_c(tmp_path, [*names, *sizes, "sizeof(struct dl_page_header)"])

    def offset(field: str) -> int:
        return found[f"offsetof(struct dl_page_header, {field})"]

    for field in fields:
        code = {4: "<I", 8: "<Q"}[found[f"sizeof(((struct dl_page_header *)0)->{field})"]]
        assert (getattr(page, field),) == struct.unpack_from(code, packed, offset(field)), field
    assert packed[offset("log_id") :].startswith(b"L" * 16)
    assert packed[offset("name") :].startswith(b"name\0")
    assert (
        struct.pack("<I", _core.crc32c(packed[: offset("crc")])) == packed[offset("crc") : offset("crc") + 4]
    )
    assert [offset(field) for field in line] == [getattr(_page_format, field.upper()) for field in line]
    assert len(packed) == _page_format.HEADER_LENGTH == found["sizeof(struct dl_page_header)"]


@needs_compiler
def test_the_numbers_python_knows_are_the_core_s(tmp_path: Path) -> None:
    """Magic, versions, states: written twice, equal."""
    magic = int.from_bytes(_page_format.MAGIC, "little")
    pairs = {
        "DL_PAGE_MAGIC": magic,
        "DL_PAGE_OPEN": _page_format.PAGE_OPEN,
        "DL_PAGE_SEALED": _page_format.PAGE_SEALED,
        "DL_PAGE_VERSION": _core.PAGE_VERSION,
        "DL_RING_VERSION": _core.RING_VERSION,
        "DL_GRANULE": _core.GRANULE,
        "DL_FRAME_HEADER": _core.FRAME_HEADER,
        "DL_SLOTS": _core.SLOTS,
        "DL_CAPACITY_MIN": _core.CAPACITY_MIN,
        "DL_CAPACITY_MAX": _core.CAPACITY_MAX,
    }

    assert pairs == print_from_c(tmp_path, list(pairs))


# -- what each file may know ---------------------------------------------------------------------------


def included(file: Path) -> set[str]:
    """The names in a file's #include lines."""
    return set(re.findall(r"^\s*#\s*include\s+[<\"]([^>\"]+)", file.read_text(), re.M))


def test_only_one_file_includes_python() -> None:
    """Python.h comes with binding.h alone, and so does stable_abi.h; and binding.h to csrc/python alone."""
    for file in c_files():
        python = included(file) & {"Python.h", "pyconfig.h", "stable_abi.h"}
        assert not python or file.name == "binding.h", f"{file.name} includes {python}"
        of_python = {name for name in included(file) if (CSRC / "python" / Path(name).name).exists()}
        assert not of_python or file.parent.name == "python", f"{file.name} includes {of_python}"


def test_the_core_s_folder_is_below_the_others() -> None:
    """Includes lead from csrc/python to csrc/os and csrc/core, and from csrc/os to core/labels.h alone."""
    for file in c_files():
        for name in included(file):
            other = file.parent / name
            if not other.exists() or other.resolve().parent == file.parent:
                continue
            below = other.resolve().relative_to(CSRC)
            assert file.parent.name == "python" or below == Path("core/labels.h"), f"{file.name}: {name}"


def test_no_file_includes_itself_in_a_circle() -> None:
    """A file and its header count as one: what it includes never leads back to it."""
    needs: dict[str, set[str]] = {}
    for file in c_files():
        others = {Path(name).stem for name in included(file) if (file.parent / name).exists()}
        needs.setdefault(file.stem, set()).update(others - {file.stem})
    while needs:
        leaves = {name for name, others in needs.items() if not others & needs.keys()}
        assert leaves, f"a circle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in leaves}


def test_c_imports_only_the_standard_library() -> None:
    """What C needs of this package is handed in: by name it imports nothing of ours."""
    imports = re.compile(r"PyImport_(?:Import\w*|AddModule\w*)\(\s*([^)]*)\)")
    names = [name for file in c_files() for name in imports.findall(code(file)) if file.name != HEADER]

    assert names
    for name in names:
        assert re.fullmatch(r'"\w+"', name), f"{name} is not the name of one module"
        assert name.strip('"') in sys.stdlib_module_names


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("layout.h", {"assert.h", "stdatomic.h", "stddef.h", "stdint.h"}),
        ("ring.h", {"stdbool.h", "labels.h", "layout.h"}),
        ("frames.h", {"stdbool.h", "layout.h"}),
        ("ring.c", {"ring.h", "string.h", "crc32c.h", "frames.h"}),
        ("frames.c", {"frames.h", "string.h", "crc32c.h"}),
        ("json_text.h", {"stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h"}),
        ("json_text.c", {"json_text.h"}),
    ],
)
def test_a_file_includes_only_what_is_below_it(name: str, allowed: set[str]) -> None:
    """The layout includes no file of ours, frames the layout, the ring both; no system calls."""
    assert set(re.findall(r"^#include [<\"]([^>\"]+)", source(name), re.M)) <= allowed


@needs_compiler
@pytest.mark.parametrize("name", ["ring.c", "frames.c", "crc32c.c"])
def test_the_core_of_the_core_calls_nothing(tmp_path: Path, name: str) -> None:
    """No allocation, no system call, no policy of others: what it needs from outside is memcpy.

    And what it gives is named dl_something.
    """
    compiled = str(tmp_path / "object.o")
    subprocess.run([str(CC), "-std=gnu11", "-O2", "-c", str(where(name)), "-o", compiled], check=True)
    needed, given = (
        {
            line.split()[-1]
            for line in subprocess.check_output(["nm", *option, compiled], text=True).splitlines()
        }
        for option in (["-u"], ["-g", "--defined-only"])
    )
    plain = {"memcpy", "memset", "memmove", "memcmp", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
    cpu = {"__cpu_model", "__cpu_indicator_init", "getauxval"} if name == "crc32c.c" else set()

    assert {symbol for symbol in needed if not symbol.startswith("dl_")} <= plain | cpu
    assert given
    assert all(symbol.startswith("dl_") for symbol in given), given


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_only_the_init_function_is_exported() -> None:
    """All other names of the core stay inside: another extension may use the same."""
    output = subprocess.run(
        ["nm", "-D", "--defined-only", _core.__file__], check=True, capture_output=True, text=True
    ).stdout
    linker = {"_init", "_fini", "_edata", "_end", "__bss_start"}

    assert {line.split()[-1] for line in output.splitlines()} - linker == {"PyInit__core"}
