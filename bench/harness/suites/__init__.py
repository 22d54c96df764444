"""The suites of measurements: each yields tables, as dictionaries for results.json."""


def table(title, rows, **more):
    """One table of results. `more` may hold `note` (a sentence under the title) and `unit` of rows with a `value`."""
    return {"title": title, **more, "rows": rows}
