#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: tools/demo.py RKFORMER MODEL   embeds a few sentences, shows which are similar, and where that ran."""
import json
import subprocess
import sys
import textwrap
import time

SENTENCES = [
    "How do I reset my password?",
    "I cannot log in any more and need new credentials.",
    "The loaf has to stay in the oven for about forty minutes.",
    "Bake the bread until its crust is golden.",
    "The goalkeeper saved a penalty in the last minute.",
    "Our team won the match after extra time.",
]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)  # its messages go to the terminal
    if done.returncode:
        sys.exit(f"demo: {' '.join(command[:2])} ended with status {done.returncode}")
    return done.stdout


def embed(rkformer, model):
    """[sentences][dim]; the model's embeddings have length 1."""
    lines = run(rkformer, "embed", "-m", model, "--", *SENTENCES).splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["index"])
    if [row["index"] for row in rows] != list(range(len(SENTENCES))):
        sys.exit("demo: not one embedding per sentence")
    return [row["embedding"] for row in rows]


def show_table(rows):
    cosine = [[sum(x * y for x, y in zip(a, b)) for b in rows] for a in rows]
    n = len(rows)
    print("        " + "".join(f"{i + 1:6}" for i in range(n)))
    for i, row in enumerate(cosine):
        cells = "".join(f"{value:6.2f}" if i != j else "     -" for j, value in enumerate(row))
        print(f"  {i + 1:4}  {cells}  {SENTENCES[i]}")
    print("\nClosest to each other:")
    done = set()
    for i, row in enumerate(cosine):
        j = max((k for k in range(n) if k != i), key=lambda k: row[k])
        if frozenset((i, j)) not in done:
            done.add(frozenset((i, j)))
            print(f"  {row[j]:.2f}  {SENTENCES[i]}\n        {SENTENCES[j]}")


def show_place(devices):
    platform, device, cpu, npu = (devices[key] for key in ("platform", "device", "cpu", "npu"))
    kind = " (virtual)" if platform != "cpu" and npu["virtual"] else ""
    print(f"\nWhere it ran: platform {platform}{kind}, device {device}")
    if device == "cpu":
        print(f"  cores: {cpu['threads']} CPU threads, {cpu['isa']} kernels")
        masks = [lane["core_mask"] for lane in devices["lanes"]]
    else:
        print(f"  cores: {npu['cores']} NPU cores, beside {cpu['threads']} CPU threads")
        masks = npu["core_masks"]
    print(f"  core masks that --core-mask takes here: {', '.join(masks)}")
    for line in npu["advice"]:
        print(textwrap.fill(f"NPU: {line}", 118, initial_indent="  ", subsequent_indent="    "))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rkformer, model = sys.argv[1:]
    began = time.monotonic()
    rows = embed(rkformer, model)
    elapsed = time.monotonic() - began
    print(f"\n{len(rows)} sentences, {len(rows[0])} numbers each, in {elapsed:.2f} s from the start of the program\n")
    show_table(rows)
    show_place(json.loads(run(rkformer, "devices", "--json")))
    print(f"\nTry: {rkformer} embed -m {model} 'your own text'   and   {rkformer} help")


main()
