#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Inner loops of the NEON kernels under llvm-mca's port models, for the processors there are no clocks of here.

usage: mca.py [--cc aarch64-linux-gnu-gcc] [--mca llvm-mca] [--docs FILE]

Compiles each kernels_neon*.c as the build does, takes the loop with the most multiplications out of its assembly, and asks the
model for the cycles of an iteration. The model knows ports and latencies, not caches; loads hit the first one. A "MAC"
is one multiply and one add.
"""
import argparse
import pathlib
import re
import subprocess
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent
CPU = TOP / "src" / "device" / "cpu"
FLAGS = "-O3 -DNDEBUG -std=gnu17 -fno-math-errno -fno-trapping-math -fno-unroll-loops".split()
# name, file, its flags, mnemonic and operands of the multiplication, MACs of one, processors that have it
KERNELS = [
    ("f32, fmla by element", "kernels_neon", "", r"fmla\s+v\d+\.4s", 4, ("cortex-a76", "cortex-a55", "cortex-a72")),
    ("f16, fmla by element", "kernels_neon_fp16", "-march=armv8.2-a+fp16", r"fmla\s+v\d+\.8h", 8, ("cortex-a76", "cortex-a55")),
    ("int8, smull + smlal2 + sadalp", "kernels_neon", "", r"(smull|smlal2?)\s+v\d+\.8h", 8, ("cortex-a72",)),
    ("int8, sdot by element", "kernels_neon_dotprod", "-march=armv8.2-a+dotprod", r"sdot\s", 16, ("cortex-a76", "cortex-a55")),
    ("int8, smmla", "kernels_neon_i8mm", "-march=armv8.2-a+dotprod+i8mm", r"smmla\s", 32, ("neoverse-v1",)),
    ("bf16, bfmmla", "kernels_neon_bf16", "-march=armv8.2-a+bf16", r"bfmmla\s", 16, ("neoverse-v1",)),
]


def assembly(cc, name, flags):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.s"
        subprocess.run([cc, *FLAGS, *flags.split(), "-D_GNU_SOURCE", f"-I{TOP}/src", f"-I{TOP}/include", "-S", f"{CPU}/{name}.c",
                        "-o", out], check=True)
        return out.read_text().splitlines()


def loops(lines):
    """Innermost loops: from a label to the branch back to it, with no label between."""
    start, label, label_at = None, None, 0
    for i, line in enumerate(lines):
        m = re.match(r"(\.L\w+):", line)
        if m:
            label, label_at = m[1], i + 1
        elif label and re.search(rf"\b(b\.?\w*|cbn?z|tbn?z)\s.*{re.escape(label)}$", line.strip()):
            yield [x for x in lines[label_at:i + 1] if not re.match(r"\s*(\.|//|#)", x)]


def cycles(mca, body, cpu):
    text = subprocess.run([mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", "-mattr=+dotprod,+fullfp16,+i8mm,+bf16", "-iterations=200"],
                          input="\n".join(body) + "\n", capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", text)[1]) / 200


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cc", default="aarch64-linux-gnu-gcc")
    p.add_argument("--mca", default="llvm-mca")
    p.add_argument("--docs", help="a page whose text between <!-- mca --> and <!-- /mca --> is replaced")
    args = p.parse_args()
    out = ["| kernel's inner loop | processor | instructions | multiplications | cycles | MACs per cycle |", "|---|---|---|---|---|---|"]
    for name, file, flags, pattern, macs, cpus in KERNELS:
        lines = assembly(args.cc, file, flags)
        body = max(loops(lines), key=lambda b: sum(bool(re.search(pattern, x)) for x in b))
        n = sum(bool(re.search(pattern, x)) for x in body)
        for cpu in cpus:
            c = cycles(args.mca, body, cpu)
            out.append(f"| {name} | {cpu} | {len(body)} | {n} | {c:.1f} | {n * macs / c:.1f} |")
    text = "\n".join(out) + "\n"
    print(text)
    if args.docs:
        page = pathlib.Path(args.docs)
        head, rest = page.read_text().split("<!-- mca -->", 1)
        page.write_text(f"{head}<!-- mca -->\n{text}<!-- /mca -->" + rest.split("<!-- /mca -->", 1)[1])


if __name__ == "__main__":
    main()
