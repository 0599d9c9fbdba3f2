#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a person reads on each recorded board: `devices`, `env`, --require-npu and the warning before the CPU computes, word
for word."""
import json
import os
import pathlib
import shutil
import subprocess
import unittest

from support import DATA, EMBED, RKFORMER, Case

BOARDS = DATA / "boards"
BUILD = pathlib.Path(RKFORMER).resolve().parent
SIM = next((p for p in (BUILD / "sim/librknnrt-sim.so", BUILD / "librknnrt-sim.so") if p.exists()), None)
SIM_MODELS = BUILD / "sim-models"

ROCKET = ("the kernel drives the NPU with the mainline driver rocket (/dev/accel/accel0), which librknnrt cannot use: boot a "
          "kernel with the vendor's rknpu driver")
NO_DRIVER = ("this rk3588 has no NPU driver: boot the board vendor's kernel, which has the rknpu driver (in a container, mount "
             "/sys and pass --device /dev/dri)")
LINK = ("/dev/rknpu is a symbolic link, which sends the runtime down its old path and fails: remove the link (sudo rm "
        "/dev/rknpu); /dev/dri/cardN is enough")
NO_NODE = "the rknpu driver is loaded but its device node is missing: in a container pass --device /dev/dri (or /dev/rknpu)"
OLD = ('the rknpu driver 0.8.2 is older than 0.9.6: jobs on cores other than 0 fail with "failed to submit"; update the kernel, '
       "or use core mask 0")
NO_LOAD = ("the load per core cannot be read: /sys/kernel/debug/rknpu needs root or the capability CAP_DAC_READ_SEARCH (sudo "
           "setcap cap_dac_read_search+ep on the command)")
NO_NPU = "no Rockchip NPU is here: use the CPU, or device sim to rehearse"
NO_RUNTIME = "there is no runtime library at /nowhere/librknnrt.so, which RKFORMER_RKNN_LIBRARY names"
UNKNOWN = ("rk3566 and rk3568 cannot be told apart without a device tree: use --platform if it is an rk3566 and a .rknn file is "
           "refused")

# board: detected platform, where from, what stands in the way (None: nothing), all the advice
CASES = {
    "rk3588": ("rk3588", "device tree", None, []),
    "rk3588s": ("rk3588", "device tree", None, []),
    "rk3576": ("rk3576", "device tree", None, []),
    "rk3566": ("rk3566", "device tree", None, []),
    "rk3588-rocket": ("rk3588", "device tree", ROCKET, [ROCKET]),
    "rk3588-no-driver": ("rk3588", "device tree", NO_DRIVER, [NO_DRIVER]),
    "rk3588-legacy-link": ("rk3588", "device tree", LINK, [LINK]),
    "rk3588-old-driver": ("rk3588", "device tree", None, [OLD]),
    "rk3588-no-debugfs": ("rk3588", "device tree", None, [NO_LOAD]),
    "container": ("rk3588", "driver", None, []),
    "container-no-node": ("rk3588", "driver", NO_NODE, [NO_NODE]),
    "container-no-uevent": ("rk3568", "driver", None, [UNKNOWN]),
    "pc": ("cpu", None, NO_NPU, [NO_NPU]),
}


class Boards(Case):
    def setUp(self):
        super().setUp()
        self.env["RKFORMER_RKNN_LIBRARY"] = "/nowhere/librknnrt.so"

    def test_advice(self):
        for board, (platform, source, _, advice) in CASES.items():
            with self.subTest(board=board):
                root = ["--root", BOARDS / board]
                document = json.loads(self.ok("devices", "--json", *root).out)
                npu = document["npu"]
                self.assertEqual((npu["detected"], npu["detected_from"]), (platform, source))
                self.assertEqual(npu["advice"], advice)
                self.assertEqual(document["runtime"], {"found": False, "advice": NO_RUNTIME, "simulated": False})
                self.assertEqual(document["device"], "cpu")
                self.assertEqual(json.loads(self.ok("env", "--json", *root).out)["devices"]["npu"]["advice"], advice)
                people = self.ok("devices", *root).out.decode()
                for words in advice + [NO_RUNTIME]:
                    self.assertIn(words, people)

    def test_required(self):
        for board, (platform, _, problem, _) in CASES.items():
            with self.subTest(board=board):
                why = "this machine has no Rockchip NPU" if board == "pc" else \
                    f"the NPU cannot be used: {problem}" if problem else NO_RUNTIME
                args = ["embed", "-m", EMBED, "--root", BOARDS / board]
                answer = self.run_command(*args, "--require-npu", "hello")
                self.assertEqual((answer.status, answer.out, answer.err), (2, b"", f"rkformer: {why}\n"))
                answer = self.run_command(*args, "hello")
                self.assertEqual(answer.status, 0)
                self.assertEqual(answer.err, "" if board == "pc" else
                                 f"rkformer: warning: the NPU of this {platform} cannot be used, the CPU computes instead: {why}\n")
                why = problem or "librknnrt.so was not found; rkformer devices says more"
                answer = self.run_command("devices", "--require-npu", "--root", BOARDS / board)
                self.assertEqual((answer.status, answer.err),
                                 (2, f"rkformer: this machine has no NPU that can be used: {why}\n"))


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root, to become somebody else")
class Permission(Case):
    """As a user who may not open the node: which group to join."""

    def test_group(self):
        groups = {"video": "no permission to open /dev/dri/card1: join its group (sudo usermod -aG video $USER, then log in again; in a "
                           "container --group-add video)",
                  "root": "no permission to open /dev/dri/card1: it belongs to root; add a udev rule that gives it to group render "
                          "(KERNEL==\"card1\", GROUP=\"render\", MODE=\"0660\") or run as root"}
        for group, words in groups.items():
            with self.subTest(group=group):
                root = self.dir / group
                shutil.copytree(BOARDS / "rk3588", root)
                os.chmod(self.dir, 0o755)
                shutil.chown(root / "dev/dri/card1", "root", group)
                os.chmod(root / "dev/dri/card1", 0o660)
                command = shutil.copy(RKFORMER, self.dir / "rkformer")
                p = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", command, "devices", "--json",
                                    "--root", root], capture_output=True, env=self.env, cwd="/", timeout=60)
                self.assertEqual(p.returncode, 0, p.stderr)
                npu = json.loads(p.stdout)["npu"]
                self.assertEqual((npu["driver"]["group"], npu["driver"]["accessible"], npu["advice"]), (group, False, [words]))


@unittest.skipUnless(SIM, "the simulator is not built")
class Runtimes(Case):
    """With the simulator in the place of the vendor's library."""

    def test_old_driver(self):
        self.env.update(RKFORMER_RKNN_LIBRARY=str(SIM), RKNNSIM_CONFIG="driver=0.8.2")
        args = ["embed", "-m", EMBED, "--root", BOARDS / "rk3588-old-driver", "hello"]
        self.assertEqual(self.ok(*args, "--core-mask", "0").lines[0]["index"], 0)
        answer = self.run_command(*args, "--core-mask", "1")
        self.assertEqual(answer.status, 1)
        self.assertIn(f"rkformer: warning: model bert-embed: {OLD}\n", answer.err)
        self.assertIn("NPU core 1: failure (-1)", answer.err.splitlines()[-1])

    def versioned(self, version):
        """A runtime whose file says which version it is, as the vendor's does."""
        path = self.dir / f"runtime-{version}.so"
        shutil.copyfile(SIM, path)
        with open(path, "ab") as f:
            f.write(f"librknnrt version: {version} (for tests)\0".encode())
        self.env.update(RKFORMER_SIM_LIBRARY=str(path), RKNNSIM_CONFIG=f"runtime={version}")
        document = json.loads(self.ok("devices", "--json", "--device", "sim").out)
        self.assertEqual(document["runtime"], {"found": True, "library": str(path), "version": version, "simulated": True})

    def test_runtime_older_than_the_file(self):
        model = ["--device", "sim", "--platform", "rk3588", "-m", SIM_MODELS / "bert-embed", "--file-name", "model_b1_s64.rknn", "hi"]
        self.versioned("1.4.0")
        answer = self.run_command("embed", *model)
        self.assertEqual((answer.status, answer.out), (1, b""))
        self.assertEqual(answer.err, "rkformer: the NPU's runtime 1.4.0 refuses model_b1_s64.rknn, made by toolkit 2.3.2: failure "
                                     "(-1); install a runtime as new as the toolkit\n")
        self.versioned("2.2.0")
        answer = self.run_command("embed", *model)
        self.assertEqual(answer.status, 0)
        self.assertEqual(answer.err, "rkformer: warning: model_b1_s64.rknn was made by toolkit 2.3.2, newer than the runtime "
                                     "2.2.0: install a newer runtime\n")

    def test_default_places(self):
        del_env = {k: v for k, v in self.env.items() if k != "RKFORMER_RKNN_LIBRARY"}
        self.env = del_env
        runtime = json.loads(self.ok("devices", "--json").out)["runtime"]
        if not runtime["found"]:
            self.assertEqual(runtime["advice"], "the NPU's runtime librknnrt.so was not found in /usr/lib, /usr/local/lib or "
                             "/usr/lib/aarch64-linux-gnu: install it (from airockchip/rknn-toolkit2, rknpu2/runtime/Linux/"
                             "librknn_api/aarch64, to /usr/lib) or set RKFORMER_RKNN_LIBRARY to its path")


class Uneven(Case):
    def test_fast_and_slow_cpus_compute_the_same(self):
        root = self.dir / "root"
        for cpu in range(os.cpu_count()):
            folder = root / f"sys/devices/system/cpu/cpu{cpu}"
            folder.mkdir(parents=True)
            (folder / "cpu_capacity").write_text("414\n" if cpu % 2 else "1024\n")
        texts = ["rain", "There is rain and snow today.", " ".join(["wind"] * 60)] * 40
        for args in (texts[:1], texts[2:3], texts):
            for more in ((), ("--platform", "rk3588", "--core-mask", "0_1")):
                with self.subTest(texts=len(args), more=more):
                    lines = "\n".join(args)
                    alike = [x["embedding"] for x in self.run_command("embed", "-m", EMBED, "--threads", "4", *more, stdin=lines).lines]
                    uneven = [x["embedding"] for x in self.run_command("embed", "-m", EMBED, "--threads", "4", "--root", root, *more, stdin=lines).lines]
                    self.assertEqual(len(uneven), len(args))
                    self.assertLess(max(abs(a - b) for x, y in zip(alike, uneven) for a, b in zip(x, y)), 1e-6)


if __name__ == "__main__":
    os.environ.setdefault("RKFORMER", RKFORMER)
    unittest.main()
