"""Presents results.json: tables in the terminal, and docs/performance.md with its charts."""

import json
import os
import re

from workshop import CALM, TOP

RESULTS = TOP / "bench/results.json"
TEMPLATE = TOP / "bench/performance.md.in"
PAGE = TOP / "docs/performance.md"
CHARTS = TOP / "docs/performance"


def header_and_rows(result):
    """The columns of a table that are not empty, and the cells of its rows as text."""
    entries = result["rows"]
    columns = {
        "": lambda e: e["name"],
        "wall ms": lambda e: spread(e["wall_ms"]),
        result.get("unit", "value"): lambda e: f"{e['value']:,}",
        result.get("other", "beside"): lambda e: f"{e['beside']:,}",
        "time": lambda e: duration(e["ns"]),
        "CPU ms": lambda e: number(e["cpu_ms"]["median"]),
        "peak MB": lambda e: number(e["rss_kib"] / 1024),
        "box / this": lambda e: ratio(e["ratio"]),
        "growth": lambda e: ratio(e["growth"]),
        "target": lambda e: goal(e),
        "notes": lambda e: e.get("reason") or e["note"],
    }
    cells = {title: [attempt(cell, entry) for entry in entries] for title, cell in columns.items()}
    kept = [title for title, column in cells.items() if any(column)]
    return kept, [[cells[title][i] for title in kept] for i in range(len(entries))]


def attempt(cell, entry):
    """A cell, empty if the entry lacks the value."""
    try:
        return cell(entry)
    except KeyError:
        return ""


def number(value):
    """A number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    """A median with its quartiles."""
    return f"{number(values['median'])} ({number(values['p25'])}–{number(values['p75'])})"


def ratio(values):
    """A ratio, with its quartiles if it comes from pairs."""
    text = f"{values['median']:.2f}" if values["median"] >= 0.1 else f"{values['median']:.3f}"
    if values.get("p25", values["median"]) != values["median"]:
        text += f" ({values['p25']:.2f}–{values['p75']:.2f})"
    return text


def duration(nanoseconds):
    """A duration, in a suitable unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1)):
        if nanoseconds >= size:
            return f"{number(nanoseconds / size)} {unit}"
    return f"{nanoseconds:.2f} ns"


def goal(entry):
    """The target or the budget of a row, and whether it is met."""
    limit = entry.get("target", entry.get("budget"))
    if limit is None:
        return ""
    text = f"1/{1 / limit:.0f}" if limit < 0.1 else f"{limit:g}"
    narrowly = " narrowly" if "ratio" in entry and "target" in entry and entry["ratio"]["p25"] <= limit < entry["ratio"]["p75"] else ""
    return f"≤ {text}" + {True: f" ✓{narrowly}", False: f" missed{narrowly}"}.get(entry.get("met"), "")


def terminal(result):
    """A table as aligned text."""
    header, lines = header_and_rows(result)
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    text = [f"\n{result['title']}"]
    for line in [header, *lines]:
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return "\n".join(text)


def markdown(result):
    """A table in Markdown, with the commands measured under it."""
    header, lines = header_and_rows(result)
    text = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    text += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    machine = result["machine"]
    text += ["", f"*{machine['date']}, {machine['commit']}, {machine['priority']}; other programs used {machine['busy_before']} % of the CPUs in the second before this table and {machine['busy_after']} % in the second after it{restless(machine)}.*"]
    if result.get("note"):
        text += ["", result["note"]]
    commands = [f"{entry['name']}: {entry['command']}" for entry in result["rows"] if entry.get("command")]
    if commands:
        text += ["", "<details><summary>Commands</summary>", "", "```", *commands, "```", "", "</details>"]
    calls = [f"{entry['name']}: " + ", ".join(f"{call} {count}" for call, count in entry["calls"].items()) for entry in result["rows"] if "calls" in entry]
    if calls:
        text += ["", "<details><summary>The most frequent calls</summary>", "", "```", *calls, "```", "", "</details>"]
    return "\n".join(text)


def restless(machine):
    """A remark on a file system that had not recovered from deletions when the suite began."""
    return f"; creating a file on disk took {machine['disk']:g} times as long as in memory" if machine.get("disk", 0) > CALM else ""


def machines(results):
    """The machines of the tables; one paragraph for each machine."""
    seen = {}
    for name, result in results.items():
        machine = result["machine"]
        line = f"{machine['cpus']} × {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}, {machine['filesystem']}, root {machine['capabilities']}."
        peers = "; ".join(f"{peer} {version}" for peer, version in machine["versions"].items())
        seen.setdefault(f"{line} {machine['box']}. Peers: {peers}.", []).append(name)
    return "\n\n".join(text if len(seen) == 1 else f"{text} (Tables: {', '.join(names)}.)" for text, names in seen.items())


def verdicts(results):
    """All targets in one table."""
    text = ["| | measured | target |", "| --- | --- | --- |"]
    for result in results.values():
        for entry in result["rows"]:
            if "target" in entry or "budget" in entry:
                against = "" if entry["name"].startswith("box") else f", against {entry['name']}"
                measured = entry.get("reason") or (f"{entry['value']:,} {result['unit']}" if "budget" in entry else ratio(entry["ratio"]) if "ratio" in entry else "not measured")
                text.append(f"| {result['title']}{against} | {measured} | {goal(entry)} |")
    return "\n".join(text)


def chart(result):
    """A bar chart of median wall times as SVG: one bar for each row, readable on light and dark pages."""
    bars = [(e["name"], e["wall_ms"]["median"]) for e in result["rows"] if "wall_ms" in e]
    left, width, step = 150, 460, 26
    longest = max(value for _, value in bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {len(bars) * step + 34}" font-family="sans-serif" font-size="13" role="img">',
        f"<title>{result['title']}</title>",
        "<style>text { fill: #444 } .box { fill: #d9480f } .peer { fill: #8d99ae } @media (prefers-color-scheme: dark) { text { fill: #ccc } }</style>",
        f'<text x="0" y="16" font-weight="bold">{result["title"]}: wall time, ms (less is better)</text>',
    ]
    for position, (name, value) in enumerate(bars):
        y = 28 + position * step
        kind = "box" if name.startswith("box") else "peer"
        lines += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{name}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{max(1, width * value / longest):.1f}" height="{step - 6}" rx="2"/>',
            f'<text x="{left + max(1, width * value / longest) + 6:.1f}" y="{y + 15}">{number(value)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def render(results):
    """{path: text} of the page and its charts."""
    files = {}

    def fill(match):
        kind, _, name = match[1].partition(" ")
        if kind == "targets":
            return verdicts(results)
        if kind == "machines":
            return machines(results)
        if name not in results:
            return f"(Not measured yet: `scripts/bench {name.split('-')[0]}`.)"
        if kind == "chart":
            files[CHARTS / f"{name}.svg"] = chart(results[name])
            return f"![{results[name]['title']}](performance/{name}.svg)"
        return markdown(results[name])

    text = re.sub(r"\{\{(.*?)\}\}", fill, TEMPLATE.read_text())
    return {PAGE: text, **files}


def keep(results):
    """Writes the results and all files made from them; an interruption leaves each file either old or new."""
    text = json.dumps(results, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    replace(RESULTS, text)
    # Parse the text again: the order of its entries shows on the page.
    write(json.loads(text))


def write(results):
    """Writes the page and its charts."""
    CHARTS.mkdir(exist_ok=True)
    for path, text in render(results).items():
        replace(path, text)


def replace(path, text):
    """Writes a temporary file and renames it."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    os.replace(aside, path)


def stale(results):
    """The generated files that do not match results.json, and charts of tables that do not exist."""
    files = render(results)
    return [path for path, text in files.items() if not path.exists() or path.read_text() != text] + [path for path in CHARTS.glob("*") if path not in files]
