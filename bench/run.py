"""Runs benchmarks and writes what they print into docs/benchmarks.md, between the lines `<!-- bench/NAME.py, ... -->` and
`<!-- end -->`, with the day and the revision. usage: run.py [NAME ...]; all of them by default."""

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALL = ["convert_speed", "load_time", "tokenizer_speed", "mergekit_peer", "split_quality", "train_speed",
       "moe_layer", "generation_speed", "quant_quality", "shapes"]  # fmt: skip


def with_figures(page, name, head, printed):
    """The page with what a benchmark printed in its place: tables as they are, other text as a block of code."""
    body = printed.strip("\n")
    if not re.search(r"^\|", body, re.MULTILINE):
        body = f"```\n{body}\n```"
    block = f"<!-- {head} -->\n\n{body}\n\n<!-- end -->"
    page, count = re.subn(rf"<!-- bench/{name}\.py\b[^\n]*-->.*?<!-- end -->", lambda _: block, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"docs/benchmarks.md has {count} places for bench/{name}.py, not one")
    return page


def run(name):
    """What it prints, which is shown as it comes."""
    printed = []
    with subprocess.Popen([sys.executable, "-u", ROOT / f"bench/{name}.py"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode != 0:
        raise SystemExit(f"bench/{name}.py ended with {process.returncode}; its figures in docs/benchmarks.md are the old ones")
    return "".join(printed)


def main(names):
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        raise SystemExit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
    page = ROOT / "docs/benchmarks.md"
    git = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    revision = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    for name in names or ALL:
        with_figures(page.read_text(), name, "", "")  # its place is there
    for name in names or ALL:
        print(f"== bench/{name}.py", flush=True)
        printed = run(name)
        head = f"bench/{name}.py, {datetime.date.today()}, {revision}"
        text = with_figures(page.read_text(), name, head, printed)  # as it is by now
        aside = page.with_suffix(".new")
        aside.write_text(text)
        os.replace(aside, page)


if __name__ == "__main__":
    main(sys.argv[1:])
