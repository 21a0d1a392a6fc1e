"""YAML that a person wrote: plain types, every key once, and one kind of error whatever is wrong with it."""

from __future__ import annotations

from typing import Any

import yaml

MOST = 100_000  # values, those of an alias counted wherever it stands: one that holds itself has no end


class UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """What ``text`` says; nothing in it is executed. Raises yaml.YAMLError where it is not YAML, or more than settings are."""
    try:
        data = yaml.load(text, Loader=UniqueKeys)
    except (ValueError, TypeError, RecursionError) as error:  # a date of no calendar, a key that is a list, brackets without end
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error
    left, count = [data], 0
    while left:
        value, count = left.pop(), count + 1
        if count > MOST:
            raise yaml.YAMLError(f"it has more than {MOST} values, perhaps an alias (*name) inside of what it names")
        left.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return data
