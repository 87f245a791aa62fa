#!/usr/bin/env python3
"""Measures what each capture of a folder costs `tcpflow analyze`, in every form of its output, and misses no mark silently.

    scripts/hostile_check.py DIR... [--bin PROGRAM] [--memory 500M] [--seconds 10] [--octets 500M]

Prints a row for each file and form that missed a mark, the worst of the others, and how many there were.
Exit status 1 where one took longer or more memory than it may, ended by a signal, or with a status other than those of the contract:
0, or 2 with one clear line on standard error that says why.
"""

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

FORMS = {
    "table": [],
    "timeline": ["--timeline"],
    "jsonl": ["--format", "jsonl"],
    "findings": ["--findings"],
    "timeline jsonl": ["--timeline", "--format", "jsonl"],
}
UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def octets(text):
    digits = text.rstrip("kMGi")
    return int(digits) * UNITS[text[len(digits):]]


class Run:
    """One run of the command: its time, its peak of memory, its status, and what standard error said."""

    def __init__(self, binary, form, memory, path, patience):
        begun = time.monotonic()
        child = subprocess.Popen(
            [binary, "analyze", "--memory", memory, *FORMS[form], str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        watchdog = threading.Timer(patience, child.kill)
        watchdog.start()
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        watchdog.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        self.form, self.path = form, path
        self.seconds = time.monotonic() - begun
        self.peak = usage.ru_maxrss * 1024
        self.status = child.returncode
        self.said = said.decode("utf-8", "replace")

    def missed(self, seconds, peak):
        if self.seconds > seconds:
            yield "time"
        if self.peak > peak:
            yield "memory"
        if self.status not in (0, 2):
            yield "status"
        if self.status == 2 and not self.said.startswith("tcpflow: "):
            yield "no reason"
        if "panicked" in self.said:
            yield "panic"

    def row(self, why=""):
        return f"{self.seconds:8.2f} s {self.peak / 1e6:8.1f} MB  {self.status:3}  {self.form:15} {self.path.name}  {why}"


def built():
    """The release build, where cargo puts it."""
    folder = subprocess.run([Path(__file__).with_name("target.sh")], capture_output=True, text=True, check=True).stdout
    return f"{folder.strip()}/release/tcpflow"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--bin", default=built(), help="tcpflow; by default the release build")
    parser.add_argument("--memory", default="500M", help="what the command is told")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--octets", type=octets, default="500M", help="how much memory it may take")
    parser.add_argument("--form", choices=FORMS, action="append")
    options = parser.parse_args()

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    paths = [path for folder in options.folders for path in sorted(folder.iterdir() if folder.is_dir() else [folder])]
    paths = [path for path in paths if path.is_file() and path.suffix not in (".tsv", ".md", ".txt")]
    if not paths:
        sys.exit("no captures there")
    runs, missed = [], 0
    for path in paths:
        for form in options.form or FORMS:
            run = Run(options.bin, form, options.memory, path, 6 * options.seconds)
            runs.append(run)
            why = ", ".join(run.missed(options.seconds, options.octets))
            if why:
                missed += 1
                print(run.row(f"MISSED: {why}"), flush=True)
    print("the longest and the largest:")
    for run in {max(runs, key=lambda run: run.seconds), max(runs, key=lambda run: run.peak)}:
        print(run.row())
    print(f"{len(paths)} captures, {len(runs)} runs, {missed} missed a mark")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
