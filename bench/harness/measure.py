"""Measures whole processes side by side: commands alternate, so that noise affects all of them alike."""

import dataclasses
import os
import shlex
import statistics
import subprocess
import tempfile


@dataclasses.dataclass
class Subject:
    """One command of a comparison.

    `argv` is a list, or a function of the round's number where each round needs a directory of its own; `{n}` in it
    stands for that number.
    `before` and `after` are called around every run, outside the measured time. `daemons` gives the process ids
    that do the command's work elsewhere: their CPU time is added. A `reason` means that it cannot be measured. `base` names
    the row that it is compared with, where that is another one than the table's.
    """

    name: str
    argv: object = None
    note: str = ""
    target: float | None = None
    before: object = None
    after: object = None
    mount_ns: str | None = None
    terminal: bool = False
    daemons: object = None
    reason: str | None = None
    base: str | None = None

    def command(self, turn):
        return [str(a).replace("{n}", str(turn)) for a in (self.argv(turn) if callable(self.argv) else self.argv)]

    def options(self):
        return (["-m", self.mount_ns] if self.mount_ns else []) + (["-t"] if self.terminal else [])


@dataclasses.dataclass
class Run:
    """The cost of one run: wall and CPU time in milliseconds, peak resident memory in KiB."""

    wall: float
    cpu: float
    rss: int


class Failed(Exception):
    """A command of a comparison failed; `number` is its position among the given ones."""

    def __init__(self, message, number=0):
        super().__init__(message)
        self.number = number


class Meter:
    """Runs subjects through the measuring program `binary`; `share` of the rounds that a suite asks for, at least 2."""

    def __init__(self, binary, share=1):
        self.binary = binary
        self.share = share

    def rounds(self, asked):
        return max(min(asked, 2), round(asked * self.share))

    def alternate(self, subjects, rounds, warmup=1):
        """Measures all subjects `rounds` times in turns; returns {name: [Run]} and sets the reason of those that fail."""
        measured = {s.name: [] for s in subjects}
        for turn in range(-warmup, self.rounds(rounds)):
            for subject in subjects:
                if subject.reason is None:
                    self._turn(subject, turn, measured)
        return {name: runs for name, runs in measured.items() if runs}

    def alternate_tight(self, subjects, rounds, warmup=2):
        """As `alternate`, without Python between two runs: for commands of a few milliseconds and no preparation."""
        for subject in subjects:
            for _ in range(warmup if subject.reason is None else 0):
                self._turn(subject, 0, None)
        able = [s for s in subjects if s.reason is None]
        try:
            return self._tight(able, self.rounds(rounds))
        except Failed as failed:
            # Its row gives the reason; the others are measured without it.
            able[failed.number].reason = str(failed)
            return self.alternate_tight(subjects, rounds, warmup)

    def _tight(self, able, rounds):
        measured = {s.name: [] for s in able}
        if not able:
            return measured
        arguments = []
        for subject in able:
            arguments += ["++"] * bool(arguments) + subject.options() + subject.command(0)
        before = [daemon_cpu(s) for s in able]
        for number, run in self._run(["-n", str(rounds), "--", *arguments], able):
            measured[able[number].name].append(run)
        for subject, used in zip(able, before):
            share = (daemon_cpu(subject) - used) / rounds
            for run in measured[subject.name]:
                run.cpu += share
        return measured

    def _turn(self, subject, turn, measured):
        try:
            if subject.before:
                subject.before(turn)
            before = daemon_cpu(subject)
            [(_, run)] = self._run(["--", *subject.options(), *subject.command(turn)], [subject])
            run.cpu += daemon_cpu(subject) - before
            if subject.after:
                subject.after(turn)
        except Failed as failed:
            subject.reason = str(failed)
            return
        if turn >= 0 and measured is not None:
            measured[subject.name].append(run)

    def _run(self, arguments, subjects):
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            ended = subprocess.run([self.binary, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True)
            errors.seek(0)
            said = errors.read().strip().splitlines()[-1:] or ["it said nothing"]
        if ended.returncode != 0:
            raise Failed(f"not measured: {said[0]}")
        for line in ended.stdout.splitlines():
            _, number, status, wall, user, system, rss = map(int, line.split())
            if status != 0:
                code = os.waitstatus_to_exitcode(status)
                raise Failed(f"not measured: {subjects[number].command(0)[0]} ended with {code}: {said[0][:600]}", number)
            yield number, Run(wall / 1e6, (user + system) / 1e3, rss)


def daemon_cpu(subject):
    """CPU milliseconds that the daemons of `subject` and the children they waited for have used."""
    total = 0
    for pid in subject.daemons() if subject.daemons else []:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15]))
    return total * 1000 / os.sysconf("SC_CLK_TCK")


def spread(values):
    """Median and quartiles, rounded to significant digits."""
    values = sorted(values)
    low, middle, high = (
        (values[0], statistics.median(values), values[-1]) if len(values) < 4 else statistics.quantiles(values, method="inclusive")
    )
    return {"median": round(middle, 4), "p25": round(low, 4), "p75": round(high, 4), "min": round(values[0], 4)}


def row(subject, runs, base):
    """One row of a result: costs, and the ratio of `base` to this subject, taken pair by pair within the rounds."""
    entry = {"name": subject.name}
    if subject.note:
        entry["note"] = subject.note
    if subject.argv is not None:
        entry["command"] = shlex.join(subject.command(0))
    if subject.target is not None:
        entry["target"] = subject.target
    if not runs or subject.reason:
        return entry | {"reason": subject.reason or "not measured"}
    entry |= {
        "runs": len(runs),
        "wall_ms": spread([r.wall for r in runs]),
        "cpu_ms": spread([r.cpu for r in runs]),
        "rss_kib": round(statistics.median(r.rss for r in runs)),
    }
    if base and base is not runs:
        entry["ratio"] = spread([b.wall / r.wall for b, r in zip(base, runs)])
    if subject.target is not None and "ratio" in entry:
        entry["met"] = entry["ratio"]["median"] <= subject.target
    return entry


def rows(subjects, measured, base):
    """The rows of a comparison, the subject named `base` first."""
    return [row(s, measured.get(s.name), measured.get(s.base or base)) for s in subjects]
