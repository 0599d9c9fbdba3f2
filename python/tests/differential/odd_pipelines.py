#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pipelines.py with inputs and options that nobody documents: empty, huge, nested, of other types, generators, datasets, sizes out
of range. Both must give equal answers or raise exceptions of one type.

usage: odd_pipelines.py MODELS    (one model of each task; ends with 1 if anything differs)

Names in the calls: p the pipeline, T texts (with a mask for fill-mask), M the mask, np, torch, gen, KeyDataset.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional, Tuple

import pipelines  # first: it finds our package and sets torch's threads

import numpy as np
import rktransformers
import torch
import transformers
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

TEXTS = ["The bank gave a loan.", "a", "Angela Merkel visited Paris and Li Wei.", "word " * 40]
COMMON = [
    "p('')",
    "p(' ')",
    "p([''])",
    'p([])',
    'p(())',
    'p(tuple(T))',
    "p(['x']*3)",
    'list(p(gen(T)))',
    'list(p(gen(T), batch_size=2))',
    "list(p(KeyDataset([{'text':t} for t in T],'text')))",
    'p(T, batch_size=1)',
    'p(T, batch_size=100)',
    'p(T, batch_size=0)',
    'p(T, batch_size=-1)',
    "p(T, batch_size='a')",
    'p(T, num_workers=0)',
    'p(None)',
    'p(5)',
    'p(5.5)',
    "p(b'x')",
    'p([None])',
    'p([5])',
    'p({})',
    "p({'text':'a'})",
    "p([['a','b']])",
    "p([['a']])",
    "p([('a','b')])",
    'p(np.array(T))',
    "p(np.str_('a b'))",
    "p('\\U0001F600 e\\u0301')",
    "p('\\ud800')",
    "p('x '*3000)",
    "p('x '*3000, truncation=True)",
    "p('x', bogus=1)",
    'p()',
    'p(T[0], T[1])',
    'p(T, padding=True)',
    'p(T, truncation=True, max_length=6)',
    'p([T,T])',
    "p({'a','b'})",
    'p(True)',
    'p(range(2))',
    'p(torch.zeros(2))',
]
OF_A_TASK = {
    'text-classification': [
        'p(T[0], top_k=0)',
        'p(T[0], top_k=-1)',
        'p(T[0], top_k=1000)',
        "p(T[0], top_k='a')",
        "p(T[0], function_to_apply='bogus')",
        "p(T[0], function_to_apply='SOFTMAX')",
        'p(T[0], return_all_scores=True)',
        'p(T[0], return_all_scores=False)',
        "p({'text':'a','text_pair':'b'})",
        "p([{'text':'a','text_pair':'b'}]*2)",
        "p([[['a','b']]])",
        "p({'text':'a','text_pair':None})",
        "p({'text_pair':'b'})",
        "p({'text':5})",
        'p(T, top_k=None, batch_size=2)',
    ],
    'token-classification': [
        "[p(T[2], aggregation_strategy=s) for s in ('none', 'simple', 'first', 'average', 'max')]",
        "p(T[2], aggregation_strategy='bogus')",
        'p(T[2], stride=2)',
        "p(T[2], aggregation_strategy='simple', stride=2)",
        'p(T[2], offset_mapping=[[(0,1)]])',
        'p(T[2], ignore_labels=None)',
        "p(T[2], ignore_labels='O')",
        'p(T[2], is_split_into_words=True)',
        'p(T[2].split(), is_split_into_words=True)',
        "p([T[2].split()], is_split_into_words=True, aggregation_strategy='simple')",
        'p(T[2], grouped_entities=True)',
    ],
    'fill-mask': [
        "p('The '+M+' was '+M)",
        "p('no mask')",
        "p(['The '+M+' a', 'no mask'])",
        'p(M)',
        'p(M*3)',
        "p('The '+M, top_k=0)",
        "p('The '+M, top_k=-1)",
        "p('The '+M, top_k=10**6)",
        "p('The '+M, targets='a')",
        "p('The '+M, targets=['a','zzzzqq'])",
        "p('The '+M, targets=[])",
        "p('The '+M, targets=[5])",
        "p('The '+M, targets=['a'], top_k=5)",
        "p(['The '+M]*3, batch_size=2)",
        "p('The '+M, tokenizer_kwargs={'truncation':True})",
        "p('x '*100+M, tokenizer_kwargs={'truncation':True})",
    ],
    'feature-extraction': [
        "p(T[0], return_tensors='pt')",
        "p(T[0], return_tensors='np')",
        'p(T[0], return_tensors=True)',
        'p(T[0], truncation=True)',
        "p(T[0], tokenize_kwargs={'bogus':1})",
        "p(T[0], tokenize_kwargs={'truncation':True,'max_length':4})",
        "p(T[0], truncation=True, tokenize_kwargs={'truncation':False})",
    ],
    'zero-shot-classification': [
        "p(T[0], ['a','b'])",
        "p(T, ['a','b'])",
        "p(T[0], 'a,b , c')",
        'p(T[0], [])',
        "p(T[0], '')",
        "p(T[0], ['a'])",
        "p(T[0], ['a'], multi_label=True)",
        "p([], ['a'])",
        'p(T[0], None)',
        'p(T[0])',
        "p(T[0], ['a','b'], hypothesis_template='none')",
        "p(T[0], ['a','b'], hypothesis_template='{} {}')",
        "p(T[0], ['a','a'])",
        "p(T[0], ['a','b'], multi_class=True)",
        "p(T[0], candidate_labels=['a','b'], batch_size=2)",
        'p(T[0], [5])',
        "p(T[0], ('a','b'))",
        "p(None, ['a'])",
        "p('', ['a','b'])",
        "p(T[0], ['a','b'], 'x {}')",
    ],
    'question-answering': [
        "p(question='Who?', context='Li Wei lives in Paris.')",
        "p({'question':'Who?','context':'Li Wei lives in Paris.'})",
        "p([{'question':'Who?','context':'Li Wei lives in Paris.'}]*2, batch_size=2)",
        "p(question=['Who?','Where?'], context='Li Wei lives in Paris.')",
        "p(question=['Who?','Where?'], context=['Li Wei lives in Paris.']*2)",
        "p(question=['Who?','Where?'], context=['Li Wei.']*3)",
        "p(question='', context='x')",
        "p(question='x', context='')",
        "p(question=None, context='x')",
        "p(question='x')",
        "p(context='x')",
        "p(question='x', context='y', top_k=0)",
        "p(question='x', context='y', top_k=-1)",
        "p(question='Who?', context='Li Wei lives in Paris.', top_k=100)",
        "p(question='x', context='y', topk=2)",
        "p(question='x', context='y', max_answer_len=0)",
        "p(question='Who?', context='Li Wei lives in Paris. '*30)",
        "p(question='Who?', context='Li Wei lives in Paris. '*30, max_seq_len=20, doc_stride=4)",
        "p(question='Who?', context='x '*50, max_seq_len=16, doc_stride=20)",
        "p(question='Who? '*40, context='x '*50)",
        "p(question='Who?', context='Li Wei lives in Paris.', align_to_words=False)",
        "p(question='Who?', context='Li Wei lives in Paris.', handle_impossible_answer=True, top_k=3)",
        "p(question='Who?', context='Li Wei', padding='max_length')",
        "p(question=5, context='x')",
        "p({'question':'x'})",
        "p('x')",
    ],
}
DEVICES: Tuple[Any, ...] = ("cpu", -1, torch.device("cpu"))


def gen(items: Iterable[Any]) -> Iterator[Any]:
    yield from items


def outcome(call: str, names: Any) -> Tuple[Any, Optional[Exception]]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return eval(call, names), None
    except Exception as error:  # what is raised is what is compared
        return None, error


def difference(task: str, call: str, ours: Any, theirs: Any, names: Any) -> Optional[str]:
    """What differs; None: nothing."""
    want, wrong = outcome(call, {**names, "p": theirs})
    got, ours_wrong = outcome(call, {**names, "p": ours})
    if wrong is not None or ours_wrong is not None:
        same = wrong is not None and ours_wrong is not None and isinstance(ours_wrong, type(wrong))
        return None if same else f"{wrong!r}, ours {ours_wrong!r}"
    if task == "feature-extraction" and "batch_size" in call:
        return None  # rows of padding: docs/python.md
    try:
        worst = pipelines.difference(got, want)
    except AssertionError as error:
        return str(error)
    return f"values differ by {worst}" if worst > 1e-4 else None


def main() -> int:
    calls = failed = 0
    root = Path(sys.argv[1])
    transformers.logging.set_verbosity_error()
    for task, models in pipelines.MODELS.items():
        if task == "question-answering" and transformers.__version__ >= "5":
            continue
        path = root / models[0]
        our_class, their_class = pipelines.CLASSES[task]
        tokenizer = pipelines.tokenizer_of(path)
        reference = getattr(transformers, their_class).from_pretrained(path).eval()
        if "token_type_ids" not in inspect.signature(reference.forward).parameters:
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        model = getattr(rktransformers, our_class).from_pretrained(path)
        for device in DEVICES:
            ours = pipeline(task, model=model, tokenizer=tokenizer, device=device)
            theirs = pipeline(task, model=reference, tokenizer=tokenizer, device=device)
            assert str(ours.device) == str(theirs.device), (task, device, ours.device)
        mask = tokenizer.mask_token if task == "fill-mask" else ""
        names = {"T": [text + mask for text in TEXTS], "M": mask, "np": np, "torch": torch, "gen": gen, "KeyDataset": KeyDataset}
        for call in (*COMMON, *OF_A_TASK[task]):
            calls += 1
            what = difference(task, call, ours, theirs, names)
            if what:
                failed += 1
                print(f"{task} {call[:80]}: {what[:300]}")
    print(f"transformers {transformers.__version__}: {calls} odd calls of pipelines, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
