"""What the fold rests on: the values of an entity as small numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.features.fold import local_codes
from fraud_core.features.plan import NULL

hashes = st.sampled_from([NULL, 1, 17, 33, 2**31, 2**32 - 1, *range(64, 96)])


@settings(max_examples=60, deadline=None)
@given(entities=st.lists(st.lists(hashes, max_size=40), max_size=8))
def test_values_are_numbered_within_each_entity_as_they_appear(entities: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, entities)])
    codes = local_codes(starts, np.array([value for entity in entities for value in entity], np.int64))
    for entity, begin, end in zip(entities, starts[:-1], starts[1:], strict=True):
        numbers = {
            value: number for number, value in enumerate(dict.fromkeys(v for v in entity if v != NULL))
        }
        assert codes[begin:end].tolist() == [numbers.get(value, -1) for value in entity]
