# SPDX-License-Identifier: Apache-2.0
"""The program tool_tokenize as an object: texts in, encodings out."""
import os
import struct
import subprocess

BUILD = os.environ.get("RKF_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build", "dev"))
STRATEGY = {"longest_first": 0, "only_first": 1, "only_second": 2}


def request(text, pair=None, special=True, max_length=0, stride=0, overflow=False, left=False, offsets=True,
            strategy="longest_first"):
    flags = (pair is not None) | special << 1 | overflow << 2 | left << 3 | (not offsets) << 4 | STRATEGY[strategy] << 5
    out = struct.pack("<BII", flags, max_length, stride)
    for t in (text, pair):
        if t is not None:
            b = t.encode()
            out += struct.pack("<I", len(b)) + b
    return out


class Tool:
    def __init__(self, model):
        self.p = subprocess.Popen([os.path.join(BUILD, "tests", "tool_tokenize"), model], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)

    def _take(self, n):
        b = self.p.stdout.read(n)
        if len(b) != n:
            raise RuntimeError(f"tool_tokenize ended ({self.p.poll()})")
        return b

    def _u32(self):
        return struct.unpack("<I", self._take(4))[0]

    def _window(self, offsets):
        n = self._u32()
        w = {"ids": list(struct.unpack(f"<{n}i", self._take(4 * n)))}
        if offsets:
            o = struct.unpack(f"<{2 * n}i", self._take(8 * n))
            w["offsets"] = list(zip(o[::2], o[1::2]))
            w["word_ids"] = list(struct.unpack(f"<{n}i", self._take(4 * n)))
        w["type_ids"] = list(self._take(n))
        if offsets:
            w["sequence_ids"] = list(struct.unpack(f"<{n}b", self._take(n)))
            w["special"] = list(self._take(n))
        return w

    def send(self, *args, **kw):
        self.p.stdin.write(request(*args, **kw))

    def flush(self):
        self.p.stdin.flush()

    def receive(self, offsets=True):
        status = struct.unpack("<i", self._take(4))[0]
        if status:
            return {"status": status, "message": self._take(self._u32()).decode()}
        n, truncated = self._u32(), self._u32()
        windows = [self._window(offsets) for _ in range(n)]
        out = {"status": 0, **windows[0], "overflow": windows[1:], "truncated": truncated}
        out["decoded_skip"] = self._take(self._u32()).decode()
        out["decoded"] = self._take(self._u32()).decode()
        return out

    def encode(self, *args, **kw):
        self.send(*args, **kw)
        self.flush()
        return self.receive(kw.get("offsets", True))

    def close(self):
        self.p.stdin.close()
        self.p.wait()
        self.p.stdout.close()
