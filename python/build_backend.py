# SPDX-License-Identifier: Apache-2.0
"""The build behind `pip install .` (PEP 517 and 660), without packages of its own: CMake builds librkformer, and a wheel is
a zip file.

Needs on the machine: cmake (3.22), ninja or make, a C compiler, pkg-config and libonig-dev; `tools/packages.sh build` installs
them on Debian and Ubuntu. With the packages of the command there too (libmicrohttpd, libcurl, libyaml) the wheel
carries `rkformer` as well. RKF_LIBRARY_DIR names a build tree with a librkformer.so.0 (and the command, if it is there): no
compiler is used.
RKF_WHEEL_TAG names the platform tag (tools/build_wheels.sh); the default is this machine's.
"""

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PACKAGES = ("rkformer", "rktransformers")
SONAME = "librkformer.so.0"
SIMULATOR = "librknnrt-sim.so"

METADATA = """\
Metadata-Version: 2.1
Name: rkformer
Version: {version}
Summary: Hugging Face encoder models on Rockchip NPUs and on CPUs, natively; a drop-in for rktransformers
License: Apache-2.0
Requires-Python: >=3.9
Requires-Dist: numpy>=1.20
Provides-Extra: torch
Requires-Dist: torch>=2.2; extra == "torch"
Requires-Dist: transformers>=4.55; extra == "torch"
Requires-Dist: sentence-transformers>=5; extra == "torch"
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Python :: 3.9
Classifier: Programming Language :: Python :: 3.10
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Classifier: Programming Language :: Python :: 3.13
Description-Content-Type: text/markdown

{readme}
"""
ENTRY_POINTS = """\
[console_scripts]
rk-transformers-cli = rktransformers.cli:main
rkformer = _rkformer_command:main
"""


def version():
    """rkformer.h's."""
    with open(os.path.join(TOP, "include", "rkformer.h"), encoding="utf-8") as header:
        text = header.read()
    return ".".join(re.search(rf"RKF_VERSION_{part} (\d+)", text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))


def metadata():
    path = os.path.join(HERE, "README.md")
    readme = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
    return METADATA.format(version=version(), readme=readme)


def platform_tag():
    tag = os.environ.get("RKF_WHEEL_TAG") or sysconfig.get_platform()
    return re.sub(r"[^A-Za-z0-9]", "_", tag)


# ---- building the library


def run(*command):
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout.decode("utf-8", "replace")[-8000:])
    return done.returncode == 0


def have(*packages):
    return shutil.which("pkg-config") and subprocess.run(["pkg-config", "--exists", *packages], check=False).returncode == 0


def built_library():
    """Builds what the wheel carries. Returns {name in the package: path}."""
    given = os.environ.get("RKF_LIBRARY_DIR")
    build = given or os.path.join(TOP, "build", "python")
    command = False
    if not given:
        for program, package in (("cmake", "cmake"), ("pkg-config", "pkg-config")):
            if not shutil.which(program):
                raise SystemExit(f"{program} was not found: install {package}, or run tools/packages.sh build")
        if not have("oniguruma"):
            raise SystemExit("the headers of Oniguruma were not found: install libonig-dev, or run tools/packages.sh build")
        command = have("libmicrohttpd", "libcurl", "yaml-0.1")
        configure = ["cmake", "-S", TOP, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DRKF_TESTS=OFF", "-DRKF_WERROR=OFF"]
        configure += ["-DRKF_COMMAND=" + ("ON" if command else "OFF")]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        if not run(*configure) or not run("cmake", "--build", build, "--parallel", "--target", "product"):
            raise SystemExit("the C library could not be built: the compiler's messages are above")
    files = {f"rkformer/lib/{SONAME}": os.path.join(build, SONAME)}
    for name, places in {
        f"rkformer/lib/{SIMULATOR}": (SIMULATOR, f"sim/{SIMULATOR}"),
        "rkformer/bin/rkformer": ("rkformer",),
    }.items():
        for place in places:
            path = os.path.join(build, place)
            if os.path.isfile(path) and (command or given or not name.endswith("bin/rkformer")):
                files[name] = path
    if not os.path.isfile(files[f"rkformer/lib/{SONAME}"]):
        raise SystemExit(f"{files[f'rkformer/lib/{SONAME}']} is not there")
    return files


# ---- wheels


class Wheel:
    """A zip file that keeps its RECORD; entries have a fixed date, so that equal inputs make equal wheels."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []

    def add(self, name, data, mode=0o644):
        info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
        info.external_attr = (0o100000 | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(data)}")

    def close(self, folder):
        self.record.append(f"{folder}/RECORD,,")
        info = zipfile.ZipInfo(f"{folder}/RECORD", (2020, 1, 1, 0, 0, 0))
        info.external_attr = 0o100644 << 16
        self.zip.writestr(info, "\n".join(self.record) + "\n")
        self.zip.close()


def package_files():
    yield "_rkformer_command.py", os.path.join(HERE, "_rkformer_command.py")
    for package in PACKAGES:
        for folder, _, names in os.walk(os.path.join(HERE, package)):
            for name in sorted(names):
                if name.endswith((".py", ".typed")):
                    path = os.path.join(folder, name)
                    yield os.path.relpath(path, HERE).replace(os.sep, "/"), path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def dist_info():
    return f"rkformer-{version()}.dist-info"


def finish(wheel, tag):
    folder = dist_info()
    wheel.add(f"{folder}/METADATA", metadata().encode())
    wheel.add(
        f"{folder}/WHEEL", f"Wheel-Version: 1.0\nGenerator: rkformer\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n".encode()
    )
    wheel.add(f"{folder}/entry_points.txt", ENTRY_POINTS.encode())
    wheel.add(f"{folder}/licenses/LICENSE", read(os.path.join(TOP, "LICENSE")))
    extra = os.environ.get("RKF_WHEEL_LICENSES")
    for name in sorted(os.listdir(extra)) if extra else ():
        wheel.add(f"{folder}/licenses/{name}", read(os.path.join(extra, name)))
    wheel.close(folder)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    libraries, tag = built_library(), platform_tag()
    name = f"rkformer-{version()}-py3-none-{tag}.whl"
    wheel = Wheel(os.path.join(wheel_directory, name))
    for inside, path in package_files():
        wheel.add(inside, read(path))
    for inside, path in sorted(libraries.items()):
        wheel.add(inside, read(path), 0o755)
    finish(wheel, tag)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The packages stay where they are; the library is put beside them."""
    for inside, path in built_library().items():
        target = os.path.join(HERE, *inside.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        os.chmod(target, 0o755)
    tag = platform_tag()
    name = f"rkformer-{version()}-py3-none-{tag}.whl"
    wheel = Wheel(os.path.join(wheel_directory, name))
    wheel.add("rkformer.pth", (HERE + "\n").encode())
    finish(wheel, tag)
    return name


def write_metadata(directory):
    folder = os.path.join(directory, dist_info())
    os.makedirs(folder, exist_ok=True)
    for name, text in (("METADATA", metadata()), ("entry_points.txt", ENTRY_POINTS)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return dist_info()


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return write_metadata(metadata_directory)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    return write_metadata(metadata_directory)


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_editable(config_settings=None):
    return []


def get_requires_for_build_sdist(config_settings=None):
    return []


SOURCES = ("include", "src", "sim", "bench", "cmake", "python", "LICENSE", "README.md", "CMakeLists.txt", "pyproject.toml")
LEFT_OUT = ("__pycache__", "tests", "lib", "bin")


def build_sdist(sdist_directory, config_settings=None):
    base = f"rkformer-{version()}"
    path = os.path.join(sdist_directory, base + ".tar.gz")

    def wanted(entry):
        name = os.path.basename(entry.name)
        inside_python = entry.name.startswith(base + "/python/")
        if name == "__pycache__" or name.endswith(".pyc") or (inside_python and entry.isdir() and name in LEFT_OUT):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name in SOURCES:
            source = os.path.join(TOP, name)
            if os.path.exists(source):
                tar.add(source, f"{base}/{name}", filter=wanted)
        data = metadata().encode()
        info = tarfile.TarInfo(f"{base}/PKG-INFO")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return os.path.basename(path)
