# SPDX-License-Identifier: Apache-2.0
"""asyncio: many awaits at once, cancelling, long lists, errors."""

import asyncio
import time

import numpy as np
import pytest
from conftest import TRAINED

import rkformer
from rkformer import _flow


def test_many_awaits_at_once(embedder):
    texts = [f"rain {i}" for i in range(50)]
    want = embedder.embed(texts)

    async def main():
        return await asyncio.gather(*(embedder.aembed(text) for text in texts))

    assert np.max(np.abs(np.stack(asyncio.run(main())) - want)) < 1e-6


def test_long_lists_do_not_hold_the_loop(embedder):
    texts = ["There is rain and snow today. " * 3] * (6 * _flow.CHUNK)
    gaps = []

    async def tick():
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    async def main():
        ticker = asyncio.ensure_future(tick())
        out = await embedder.aembed(texts)
        ticker.cancel()
        return out

    assert asyncio.run(main()).shape == (len(texts), 64)
    assert len(gaps) > 3


def test_every_task_has_an_awaited_namesake():
    async def main():
        with rkformer.Model(TRAINED / "bert-rerank") as model:
            pairs = [("cat", "The cat was near the rabbit.")]
            assert (await model.ascore_pairs(pairs))[0] == pytest.approx(model.score_pairs(pairs)[0], abs=1e-6)
            assert await model.arerank("cat", ["a", "cat"]) == model.rerank("cat", ["a", "cat"])
            assert np.allclose((await model.ahidden(["cat"]))[0], model.hidden(["cat"])[0], atol=1e-6)
            assert np.allclose(await model.alogits("cat"), model.logits("cat"), atol=1e-6)
            assert await model.aclassify("cat") == model.classify("cat")
        with rkformer.Model(TRAINED / "bert-qa") as model:
            assert await model.aqa("Who?", "It is Anna.") == model.qa("Who?", "It is Anna.")

    asyncio.run(main())


def test_cancelling_a_task_cancels_the_request(embedder):
    texts = ["There is rain and snow today. " * 20] * 20000

    async def main():
        task = asyncio.ensure_future(embedder.aembed(texts))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    begin = time.monotonic()
    while embedder.runtime.stats()["waiting"] and time.monotonic() - begin < 10:
        time.sleep(0.01)
    assert embedder.runtime.stats()["waiting"] == 0


def test_errors_arrive(embedder):
    async def main():
        with pytest.raises(ValueError):
            await embedder.aembed(["a"], prompt_name="no such")
        with pytest.raises(ValueError):
            await embedder.aclassify("a")
        with pytest.raises(TimeoutError):
            await embedder.aembed(["rain " * 200] * 3000, timeout=0.02)

    asyncio.run(main())
