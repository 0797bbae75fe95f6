"""Put the comments of the chart's values.yaml into its schema and its README.

A comment of the form `# -- text`, with lines of `# more` below it, describes the key that follows.
With --check nothing is written, and the exit status is 1 if something is not current.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "helm/sightline"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
# Maps that a user fills.
FREE = ("resources", "labels", "annotations")
_KEY = re.compile(r"( *)([A-Za-z0-9_]+):")
_COMMENT = re.compile(r" *# (.*)")


def comments(text: str) -> dict[str, str]:
    """Keys with dots, in their order, and what is said of them.

    Raises:
        ValueError: a key has no comment; names it.
    """
    found: dict[str, str] = {}
    parents: list[str] = []
    pending: list[str] = []
    values = yaml.safe_load(text)
    known = set(keys(values))
    for number, line in enumerate(text.splitlines(), 1):
        comment, key = _COMMENT.fullmatch(line), _KEY.match(line)
        if comment is not None:
            said = comment[1]
            if said.startswith("-- "):
                pending = [said.removeprefix("-- ")]
            elif pending:
                pending.append(said)
            continue
        if key is not None:
            del parents[len(key[1]) // 2 :]
            name = ".".join([*parents, key[2]])
            if name in known:
                if not pending:
                    raise ValueError(f"line {number}: {name} has no comment; write `# -- ...`")
                found[name] = " ".join(pending)
                parents.append(key[2])
        pending = []
    missing = known - set(found)
    if missing:
        raise ValueError(f"no comment was found for {', '.join(sorted(missing))}")
    return found


def keys(values: dict[str, Any], parent: str = "") -> Iterator[str]:
    """Every key with those it is below; maps that a user fills are leaves, even with defaults."""
    for key, value in values.items():
        yield parent + key
        if isinstance(value, dict) and value and key not in FREE:
            yield from keys(value, f"{parent}{key}.")


def described(schema: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    """The schema with a comment as the description of each key."""
    schema = json.loads(json.dumps(schema))
    for name, text in said.items():
        node = schema
        for part in name.split("."):
            if part not in node.get("properties", {}):
                raise ValueError(f"the schema has no {name}")
            node = node["properties"][part]
        ordered = {"description": text} | {k: v for k, v in node.items() if k != "description"}
        node.clear()
        node.update(ordered)
    return schema


def table(values: dict[str, Any], said: dict[str, str]) -> str:
    rows = ["| value | default | |", "|---|---|---|"]
    for name, text in said.items():
        value: Any = values
        for part in name.split("."):
            value = value[part]
        inner = any(other.startswith(name + ".") for other in said)
        default = "" if inner else f"`{json.dumps(value)}`"
        label = f"**`{name}`**" if inner else f"`{name}`"
        rows.append(f"| {label} | {default} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def between_marks(text: str, inserted: str) -> str:
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{inserted}\n{END}{tail}"


def wanted(chart: Path) -> dict[Path, str]:
    """The files and what they should hold."""
    text = (chart / "values.yaml").read_text()
    said, values = comments(text), yaml.safe_load(text)
    schema, readme = chart / "values.schema.json", chart / "README.md"
    return {
        schema: json.dumps(described(json.loads(schema.read_text()), said), indent=2) + "\n",
        readme: between_marks(readme.read_text(), table(values, said)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    parser.add_argument("--chart", type=Path, default=CHART, help="(%(default)s)")
    options = parser.parse_args()
    texts = wanted(options.chart)
    stale = {file: text for file, text in texts.items() if file.read_text() != text}
    if options.check:
        for file in stale:
            print(f"{file.name} is not current; run `make chart-reference`", file=sys.stderr)
        return 1 if stale else 0
    for file, text in stale.items():
        file.write_text(text)
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
