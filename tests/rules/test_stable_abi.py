"""The core builds without Python.h, against csrc/stable_abi.h: same facts, same behaviour."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import disklog_mp

PACKAGE = Path(disklog_mp.__file__).parent
CSRC = Path(__file__).parents[2] / "disklog_mp" / "csrc"  # an installed package has no C sources
HEADER = CSRC / "python" / "stable_abi.h"
TESTS = Path(__file__).parents[1]
CC = shutil.which("gcc") or shutil.which("cc")
INCLUDE = sysconfig.get_paths()["include"]
OURS = '#include "stable_abi.h"\n'
THEIRS = "#define Py_LIMITED_API 0x030B0000\n#define PY_SSIZE_T_CLEAN\n#include <Python.h>\n"

pytestmark = [
    pytest.mark.skipif(CC is None, reason="no C compiler"),
    pytest.mark.skipif(not HEADER.exists(), reason="the C sources are not installed"),
]
needs_headers = pytest.mark.skipif(not Path(INCLUDE, "Python.h").exists(), reason="Python.h is not installed")

MEMBERS = {
    "PyObject": "ob_refcnt ob_type",
    "PyMethodDef": "ml_name ml_meth ml_flags ml_doc",
    "PyGetSetDef": "name get set doc closure",
    "PyType_Slot": "slot pfunc",
    "PyType_Spec": "name basicsize itemsize flags slots",
    "PyModuleDef_Slot": "slot value",
    "PyModuleDef_Base": "m_init m_index m_copy",
    "PyModuleDef": "m_base m_name m_doc m_size m_methods m_slots m_traverse m_clear m_free",
    "PyStructSequence_Field": "name doc",
    "PyStructSequence_Desc": "name doc fields n_in_sequence",
    "Py_buffer": "buf obj len itemsize readonly ndim format shape strides suboffsets internal",
}
TYPES = [*MEMBERS, "Py_ssize_t", "Py_hash_t", "PyCFunction", "getter", "setter", "allocfunc", "freefunc"]


def numbers() -> list[str]:
    """The constants stable_abi.h defines."""
    return re.findall(r"^#define (\w+) \(?(?:0x)?\d", HEADER.read_text(), re.M)


def prototypes() -> list[str]:
    """The functions it declares, under the names they have for the linker, and the documented data."""
    text = HEADER.read_text()
    for name, real in re.findall(r"^#define (\w+) (_Py\w+_SizeT)$", text, re.M):
        text = re.sub(rf"\b{name}\b(?=\()", real, text)
    functions = re.findall(r"^[a-zA-Z][\w ]*[ *]+_?Py\w+\([^;{}]*\);$", text, re.M)
    return functions + re.findall(r"^extern (?!.*_Py).*;$", text, re.M)


def names_of(declarations: list[str]) -> set[str]:
    return {name for line in declarations for name in re.findall(r"\b(_?Py\w+)(?=[(,;])", line)}


def compile_c(directory: Path, text: str, *flags: str) -> Path:
    """Compile text into a program; its path."""
    (directory / "facts.c").write_text(text)
    command = [
        str(CC),
        "-std=gnu11",
        "-Wall",
        f"-I{HEADER.parent}",
        f"-I{INCLUDE}",
        str(directory / "facts.c"),
    ]
    subprocess.run([*command, *flags, "-o", str(directory / "facts")], check=True)
    return directory / "facts"


# -- the same facts ------------------------------------------------------------------------------------


@needs_headers
def test_sizes_offsets_and_numbers_are_those_of_the_headers(tmp_path: Path) -> None:
    """What the two print about every type, member and constant is the same, line for line."""
    facts = [f"sizeof({name})" for name in TYPES]
    facts += [
        f"offsetof({name}, {member})" for name, members in MEMBERS.items() for member in members.split()
    ]
    facts += numbers()
    prints = "".join(f'    printf("%s %lld\\n", "{fact}", (long long)({fact}));\n' for fact in facts)
    main = f"#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{{\n{prints}}}\n"

    printed = [
        subprocess.check_output([compile_c(tmp_path, include + main)], text=True)
        for include in (OURS, THEIRS)
    ]

    assert printed[0] == printed[1]
    assert {"Py_tp_free", "METH_FASTCALL", "Py_TPFLAGS_BASETYPE", "Py_NE", "PyBUF_SIMPLE"} <= set(numbers())


@needs_headers
def test_prototypes_are_those_of_the_headers(tmp_path: Path) -> None:
    """A declaration of ours beside theirs would not compile if it said something else."""
    declared = prototypes()
    # Since 3.13 the list of keywords is constant all through: the same call, another spelling.
    if sys.version_info >= (3, 13):
        declared = [line for line in declared if "AndKeywords" not in line]

    compile_c(tmp_path, THEIRS + "\n".join(declared), "-c")

    begun = re.findall(r"^(?!typedef|static|#)\w.*\(|^extern (?!.*_Py)", HEADER.read_text(), re.M)
    assert len(prototypes()) == len(begun) > 50


@needs_headers
def test_a_wrong_prototype_would_be_noticed(tmp_path: Path) -> None:
    """The comparison is one."""
    with pytest.raises(subprocess.CalledProcessError):
        compile_c(tmp_path, THEIRS + "int PyList_New(Py_ssize_t length);", "-c")


def test_this_interpreter_has_every_name() -> None:
    """Each function and object declared is one the interpreter exports."""
    names = names_of(re.findall(r"^extern .*;$", HEADER.read_text(), re.M)) | names_of(prototypes())

    assert {name for name in names if not hasattr(ctypes.pythonapi, name)} == set()
    assert {"_Py_NoneStruct", "_PyArg_ParseTuple_SizeT", "PyExc_OSError", "PyEval_SaveThread"} <= names


def test_the_core_uses_what_is_declared_and_nothing_is_declared_for_nobody() -> None:
    """The header is as long as it must be."""
    source = "".join(file.read_text() for file in CSRC.rglob("*.[ch]") if file != HEADER)
    used = set(re.findall(r"\b_?(?:Py\w+|METH_\w+)\b", source))
    text = HEADER.read_text()
    declared = names_of(prototypes()) - {"PyType_GetFlags", "PyEval_SaveThread", "PyEval_RestoreThread"}
    declared |= set(numbers()) - {"Py_TPFLAGS_UNICODE_SUBCLASS", "Py_TPFLAGS_TYPE_SUBCLASS"}

    assert {name for name in declared if not name.endswith("_SizeT")} <= used
    assert set(re.findall(r"^#define (Py\w+) _Py\w+_SizeT", text, re.M)) <= used


# -- the same behaviour --------------------------------------------------------------------------------

ROUND_TRIP = """
import os, pickle, sys
from disklog_mp import _core
from disklog_mp._core import *

assert os.path.dirname(_core.__file__) == sys.argv[1], _core.__file__

class Quiet(Producer):
    def _log_slowly(self, *args):
        return "slowly", args
    def _log_many_slowly(self, *args):
        return "many slowly", args

def attempt(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(error)

size = ring_size(4096)
fd = os.memfd_create("ring")
os.ftruncate(fd, size)
format_ring(Mapping(fd, size, True), 4096, 2**32, 1, 7, b"b" * 16, b"l" * 16, b"name", b"/path")
ring = Ring(fd, size, writable=True)
print(ring.capacity, ring.base, ring.salt, ring.boot_id, ring.log_id, ring.name, ring.path, len(ring))
print(ring.attach(1, 11, 12, 13, 14), ring.slots(SLOT_ATTACHED), ring.slot(1), ring.is_closed())
producer = Quiet()
print(producer.log(b"early"), producer.ring, producer.is_bound)
producer.bind(ring, 1, 11)
print(producer.log(b"one"), producer.log(bytearray(b"two"), tag=7), producer.log(memoryview(b"three")))
print(producer.log_many([b"a", b"bb", b""], tag=9), producer.log_many([]), producer.end, producer.is_bound)
print(producer.log(bytes(5000))[1][1:], producer.log_many((bytes(5000),))[1][1:])
for call in (
    lambda: producer.log("text"), lambda: producer.log(1), lambda: producer.log(),
    lambda: producer.log(b"", tog=1), lambda: producer.log(b"", tag=-1),
    lambda: producer.log_many("text"), lambda: producer.log_many(1),
    lambda: producer.log_many([b"", None]), lambda: producer.bind(1, 2, 3), lambda: ring.slot(5000),
    lambda: ring.load64(3), lambda: Mapping(fd, -1), lambda: Mapping(-1, 1), lambda: Ring(fd, 10, True),
    lambda: Ring(fd, size), lambda: setattr(ring, "base", 1), lambda: delattr(ring, "hint"),
    lambda: RecordIterator(),
    lambda: format_ring(b"", 1, 2, 3, 4, b"", b"", b"", b""), lambda: crc32c("text"), lambda: Record(),
    lambda: setattr(ring, "hint", -1),
):
    print(attempt(call))
end, length, records, last_time, stop, following = ring.drain(2**32, 2**63, 2**63)
print(end, length, records, last_time > 0, stop, following)
start = ring.data_offset
frames = RecordIterator(ring, start, start + length, 2**32, 100, 7)
found = list(frames)
print(frames.offset - start, frames.end - start, frames.number, frames.position, frames.damage, frames.inside)
for record in found:
    copy = pickle.loads(pickle.dumps(record))
    print(record.data, bytes(record.view), record.position, record.number, record.pid, record.tag)
    print(copy == record, copy != record, copy == 5, hash(copy) == hash(record), copy.gap)
    print(copy.timestamp == record.timestamp > 0)
print(repr(Record(b"data", position=32, number=1, timestamp=2, pid=3, tag=4, gap=True)))
print(Record(b"") == found[0], found[0].view.readonly, found[0].view.nbytes)
print(Record.data.__doc__, Producer.log.__doc__, Producer.log.__text_signature__)
print(list(RecordIterator(ring, start, start + length, 2**32, 0, 7, payloads=True)))
seeking = RecordIterator(ring, start, start + length, 2**32, 100, 7)
seeking.seek(104)
print(seeking.number, seeking.inside, next(seeking).data)
memoryview(ring)[start + 24] ^= 1
damaged = RecordIterator(ring, start, start + 64, 2**32, 100, 7)
print([record.data for record in damaged], [(row[0] - start, row[1], row[4]) for row in damaged.damage])
damaged.extend(start + length)
print([record.data for record in damaged], attempt(lambda: damaged.extend(0)))
print(census(ring, start, start + length, 2**32, 7)[:5], attempt(lambda: census(b"", 1, 2, 3, 4)))
print(ring.frontier(2**32), ring.release(2**32, end), ring.released, ring.close(end))
print(producer.log(b"late")[1], ring.is_closed(), ring.park(end, 1.0), ring.wake(), ring.announce())
print(ring.detach(1, 0), ring.retire(1), ring.retire_resume(), ring.totals())
print(ring.maximize64(4096, 5), ring.add64(4096, 3), ring.hint, ring.slot_word(1), ring.books_copy())
print(ring.wait(SPACE, 5, 1.0), ring.ring_bell(SPACE), ring.load32(SPACE))
print(all_zero(bytes(100)), all_zero(b"1"), hex(crc32c(b"123456789")), crc32c_update(b"1", 5))
print(producer.unbind(), producer.log(b"")[1], producer.count(1, 1))
class Sink(Outlet):
    def _take(self, data, level):
        print(data[27:], level)
class Whole(EventLogger):
    def _whole(self, *args):
        print(args)
    def _number(self, level):
        return int(level)
sink, logger = Sink(), Whole()
print(sink._session, sink._threshold, logger._level, logger.info("unset"), attempt(lambda: logger._set_up()))
logger._set_up(sink, b',"logger":"a","message":', b'"b":1', frozenset("b"), -1, False)
sink._session = producer
logger.info("m\\udcff\\n", x=1, y=-2.5, z=None, t=True, f=False, o=[1], n=2**70, i=float("inf"))
for call in (
    lambda: logger.info("m", b=2), lambda: logger.info(5, x=1), lambda: logger.error("%d", 1, exc_info=True),
    lambda: logger.log(25, "m"), lambda: logger.log("40", "m"), lambda: logger.log("x", "m"),
    lambda: logger.isEnabledFor(0), lambda: setattr(sink, "_session", 5), lambda: logger.info(),
    lambda: setattr(sink, "_threshold", 30), lambda: logger.info("no"), lambda: logger.isEnabledFor("20"),
):
    print(attempt(call))
print(sorted(vars(_core).keys() - {"__file__"}), crc32c_name())
pid = os.fork()
if pid == 0:
    producer.bind(ring, 1, 11)
    forked()
    os._exit(producer.is_bound)
print(os.waitpid(pid, 0)[1])
os.close(fd)
"""


@pytest.fixture(scope="module")
def without_headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package, its core built as if Python.h were not there."""
    directory = tmp_path_factory.mktemp("without")
    package = directory / "disklog_mp"
    package.mkdir()
    for entry in PACKAGE.iterdir():
        if entry.suffix not in (".so", ".pyi") and entry.name not in ("csrc", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    sources = [str(file) for file in sorted(CSRC.rglob("*.c"))]
    command = [
        str(CC),
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
        "-shared",
        "-fPIC",
    ]
    target = package / "_core.abi3.so"
    subprocess.run([*command, "-DDL_NO_PYTHON_H", *sources, "-Wl,-z,now", "-o", str(target)], check=True)
    return directory


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the package of that directory and no other."""
    environment = {**os.environ, "PYTHONPATH": os.fspath(directory)}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_core_without_headers_does_the_same(without_headers: Path) -> None:
    """Every type, call, error and argument error, printed by both builds: no difference."""
    ours = run(without_headers, "-c", ROUND_TRIP, str(without_headers / "disklog_mp"))
    theirs = run(PACKAGE.parent, "-c", ROUND_TRIP, str(PACKAGE))

    assert ours.stderr == theirs.stderr == ""
    assert ours.stdout.splitlines() == theirs.stdout.splitlines()
    assert len(ours.stdout.splitlines()) > 40


def test_the_core_without_headers_passes_the_core_s_tests(without_headers: Path) -> None:
    """The ring's and the checksum's tests, run on it."""
    core = TESTS / "unit" / "core"
    alone = (f"--confcutdir={core}", "-p", "no:cacheprovider", str(core))
    result = run(without_headers, "-m", "pytest", "-q", "-x", *alone)

    assert result.returncode == 0, result.stdout[-4000:]


def test_it_is_built_with_the_project_s_own_flags() -> None:
    """The flags above are those of pyproject.toml, so that what is tested is what is installed."""
    pyproject = tomllib.loads((CSRC.parents[1] / "pyproject.toml").read_text())
    (extension,) = pyproject["tool"]["setuptools"]["ext-modules"]

    assert {"-std=gnu11", "-fvisibility=hidden"} <= set(extension["extra-compile-args"])
    headers = [f"disklog_mp/csrc/{file.relative_to(CSRC)}" for file in sorted(CSRC.rglob("*.h"))]
    assert sorted(file for file in extension["depends"] if file.endswith(".h")) == headers
    assert sorted(extension["sources"]) == [
        f"disklog_mp/csrc/{file.relative_to(CSRC)}" for file in sorted(CSRC.rglob("*.c"))
    ]
