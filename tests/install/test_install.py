#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs into an empty folder, then uses what lies there as a stranger would.

Checks that the header compiles alone in C and C++, that the libraries show rkf_ names only and every function of the
header, and that docs/example.c, built through pkg-config (shared, static) and through find_package, gives the
similarities that sentence-transformers gives. Environment: BUILD_DIR, CC, TEST_MODELS; set by ctest.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ["BUILD_DIR"])
CC = os.environ.get("CC", "cc")
MODEL = pathlib.Path(os.environ["TEST_MODELS"]) / "all-MiniLM-L6-v2"

# sentence-transformers 6 on the same weights: the cosines of docs/example.c's three sentences
COSINES = [[1.0, 0.66596, 0.10458], [0.66596, 1.0, 0.14114], [0.10458, 0.14114, 1.0]]

CMAKE_PROJECT = """cmake_minimum_required(VERSION 3.22)
project(example LANGUAGES C)
find_package(rkformer 0.1 REQUIRED)
add_executable(example example.c)
target_link_libraries(example rkformer::rkformer)
add_executable(example_static example.c)
target_link_libraries(example_static rkformer::static)
"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def names(*nm):
    """Global names that a library defines."""
    return {line.split()[-1].split("@")[0] for line in run("nm", *nm).splitlines() if len(line.split()) == 3}


def declared():
    text = (TOP / "include" / "rkformer.h").read_text()
    return set(re.findall(r"^RKF_API\b[^;(]*?\b(rkf_\w+)\(", text, re.M))


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="rkf-install-"))
        first = cls.dir / "first"
        run("cmake", "--install", BUILD, "--prefix", first)
        cls.prefix = cls.dir / "moved elsewhere"  # the tree may be moved, and names may hold spaces
        first.rename(cls.prefix)
        cls.lib = next(cls.prefix.rglob("librkformer.so")).parent
        cls.env = dict(os.environ, PKG_CONFIG_PATH=str(cls.lib / "pkgconfig"), LD_LIBRARY_PATH=str(cls.lib))
        cls.env.pop("MAKEFLAGS", None)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def check_example(self, program, *arguments):
        lines = run(program, MODEL, *arguments, env=self.env).splitlines()
        self.assertEqual(len(lines), 4)
        for line, want in zip(lines, COSINES):
            got = [float(x) for x in line.split()[:3]]
            for a, b in zip(got, want):
                self.assertAlmostEqual(a, b, delta=1.1e-4)  # printed with four digits
        self.assertRegex(lines[3], r"^\d+ tokens on \w+$")

    def test_files(self):
        for pattern in (
            "bin/rkformer",
            "include/rkformer.h",
            "lib*/**/librkformer.so.0",
            "lib*/**/librkformer.a",
            "lib*/**/rkformer.pc",
            "lib*/**/rkformerConfig.cmake",
            "lib*/**/rkformerConfigVersion.cmake",
            "share/doc/rkformer/LICENSE",
            "share/doc/rkformer/LICENSE.yyjson",
        ):
            self.assertTrue(list(self.prefix.glob(pattern)), pattern)

    def test_names(self):
        functions = declared()
        self.assertGreater(len(functions), 20)
        shared = names("-D", "--defined-only", self.lib / "librkformer.so")
        static = names("-g", "--defined-only", self.lib / "librkformer.a")
        self.assertEqual(shared - functions, set(), "shown, but not in the header")
        self.assertEqual(functions - shared, set(), "in the header, but not in the library")
        self.assertEqual(static, shared)

    def test_header_alone(self):
        include = f"-I{self.prefix / 'include'}"
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wstrict-prototypes", "-Werror", "-fsyntax-only", include]
        source = self.dir / "alone.c"
        source.write_text("#include <rkformer.h>\n#include <rkformer.h>\nint main(void) { return rkf_version() == 0; }\n")
        for standard in ("c99", "c11", "c17"):
            run(CC, "-x", "c", f"-std={standard}", *warnings, source)
        source.write_text(
            "#include <rkformer.h>\n"
            "static void done(void *, rkf_ticket, rkf_status, rkf_result *, const rkf_error *) {}\n"
            "int main() { rkf_done *f = done; rkf_error err; rkf_runtime *rt = nullptr;\n"
            "    return f == nullptr || rkf_runtime_open(nullptr, &rt, &err) != RKF_OK; }\n"
        )
        for standard in ("c++11", "c++17", "c++20"):
            run("g++", "-x", "c++", f"-std={standard}", *(w for w in warnings if w != "-Wstrict-prototypes"), source)

    def test_pkg_config(self):
        flags = run("pkg-config", "--cflags", "--libs", "rkformer", env=self.env)
        program = self.dir / "by-pkg-config"
        command = f'{CC} -Wall -Wextra -Werror "{TOP}/docs/example.c" {flags.strip()} -o "{program}"'
        run("bash", "-c", command, env=self.env)
        self.check_example(program)
        self.check_example(program, "0_1")
        # A second copy of names that the library uses inside must not reach into it.
        other = self.dir / "other.c"
        other.write_text('int buf_append(void);\nint buf_append(void)\n{\n    __builtin_abort();\n}\n')
        flags = run("pkg-config", "--static", "--cflags", "--libs", "rkformer", env=self.env).strip()
        flags = flags.replace("-lrkformer", "-l:librkformer.a")
        program = self.dir / "by-pkg-config-static"
        run("bash", "-c", f'{CC} "{TOP}/docs/example.c" "{other}" {flags} -o "{program}"', env=self.env)
        self.assertNotIn("librkformer", run("ldd", program))
        self.check_example(program)

    def test_find_package(self):
        project = self.dir / "project"
        project.mkdir()
        shutil.copy(TOP / "docs" / "example.c", project)
        (project / "CMakeLists.txt").write_text(CMAKE_PROJECT)
        run("cmake", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={CC}")
        run("cmake", "--build", project / "build")
        self.check_example(project / "build" / "example")
        self.check_example(project / "build" / "example_static")

    def test_command(self):
        program = self.prefix / "bin" / "rkformer"
        header = (TOP / "include" / "rkformer.h").read_text()
        version = ".".join(re.findall(r"#define RKF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))
        self.assertIn(version, run(program, "--version"))
        needed = set(re.findall(r"NEEDED.*\[(.*?)\.so", run("readelf", "-d", self.lib / "librkformer.so")))
        self.assertEqual(needed - {"libonig", "libm", "libc", "ld-linux-x86-64", "ld-linux-aarch64"}, set())

    def test_failure_is_told(self):
        program = self.dir / "failing"
        flags = run("pkg-config", "--cflags", "--libs", "rkformer", env=self.env).strip()
        run("bash", "-c", f'{CC} "{TOP}/docs/example.c" {flags} -o "{program}"', env=self.env)
        for arguments, words in (
            (["no/such/model"], "no/such/model"),
            ([MODEL, "0_2"], "core mask '0_2'"),
        ):
            done = subprocess.run([program, *arguments], capture_output=True, text=True, env=self.env)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
