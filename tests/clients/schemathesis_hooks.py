# SPDX-License-Identifier: Apache-2.0
"""What a JSON schema cannot say: how many tokens a text has. A request that forbids cutting, or whose labels must fit beside
the text, or whose mask must not be cut off, is only sent with texts that fit the test models' 64 tokens whatever their
characters."""
import os

import schemathesis

SURE_TO_FIT = 12  # characters: at most 4 tokens each, as bytes


def characters(value):
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(characters, value))
    return sum(map(characters, value.values())) if isinstance(value, dict) else isinstance(value, int)


def mask_is_early(inputs):
    texts = inputs if isinstance(inputs, list) else [inputs]
    return all(not isinstance(t, str) or t.find("<mask>") <= SURE_TO_FIT for t in texts)


@schemathesis.hook
def filter_body(context, body):
    if not isinstance(body, dict):
        return True
    if not mask_is_early(body.get("inputs")):
        return False
    parameters = body.get("parameters") if isinstance(body.get("parameters"), dict) else {}
    if any(x.get("truncate") in (False, "NONE") for x in (body, parameters)) and characters(body) > SURE_TO_FIT:
        return False
    return all(characters(x.get(name)) <= SURE_TO_FIT for x in (body, parameters) for name in ("candidate_labels", "hypothesis_template") if x.get(name))


@schemathesis.hook
def map_body(context, body):
    """Every other model that is to be loaded is one that exists."""
    if not isinstance(body, dict) or context.operation.definition.raw.get("operationId") != "load_model":
        return body
    if isinstance(body.get("model"), str) and len(body["model"]) % 2:
        body = {**body, "model": os.environ["LOADABLE_MODEL"]}
    return body
