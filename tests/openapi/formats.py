"""What schemathesis makes of the formats of ours: users and flag keys as headers carry them."""

import base64
import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

TEXTS = st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("user_id", "device_id", "country", "version", "user_properties", "groups")
MORE_FIELDS = ("group_properties", "cohort_ids", "group_cohort_ids")
USERS = st.dictionaries(st.sampled_from((*FIELDS, *MORE_FIELDS)) | TEXTS, VALUES, max_size=6)
KEYS = st.lists(st.sampled_from(("dark-mode", "button-colour")) | TEXTS, max_size=4)


def as_header(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


schemathesis.openapi.format("base64-user", USERS.map(as_header))
schemathesis.openapi.format("base64-keys", KEYS.map(as_header))
schemathesis.openapi.format("json-user", USERS.map(json.dumps))
