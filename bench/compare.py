#!/usr/bin/env python3
"""Runs rows of weft_bench against the rows that do the same work otherwise, and prints ratios.

    compare.py                                      every row that has a rival
    compare.py --filter 'gemm/.*1024' --rounds 9    some of them, more carefully
    compare.py --ort bench/peers/ort.mjs            ONNX Runtime as one more rival
    compare.py --pair softmax/causal/forward/f32/B=1/H=8/N=4096/D=64/threads=1 \\
                      softmax/full/forward/f32/B=1/H=8/N=4096/D=64/threads=1
    compare.py --crossover                          from which length on mixers beat softmax
    compare.py --per-token                          time per token against the length
    compare.py --markdown                           the table as Markdown

A row's rivals are the rows of the same name under peer/<library>/ (build with
-DWEFT_BENCH_PEERS=ON) and under unfused/; --pair adds any other two rows. A round measures a row and
then its rivals, each in a process of its own; rounds follow each other, A B A B ..., so that what
changes slowly on the machine changes for all. A ratio is the rival's median time over the row's
(above 1: the row is faster); behind it, the least and greatest ratio within one round.

--crossover and --per-token print the counters of the rows of these names, each row the median of the
rounds; --filter chooses among them. Ratios there are times over those of softmax attention of the
same heads and channels.

Needs nothing but Python's standard library.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RIVAL = re.compile(r"^(peer/[^/]+|unfused)/(.+)$")


class Failure(Exception):
    """A message for the user."""


def output_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


class Bench:
    """The rows of weft_bench."""

    def __init__(self, program, seconds):
        self.program = str(program.resolve())
        self.seconds = seconds

    def names(self):
        return output_of([self.program, "--benchmark_list_tests=true"]).split()

    def measure(self, name):
        """Counters of one run, or None where there is no such row."""
        pattern = "^" + name.replace(".", r"\.") + "$"
        text = output_of([self.program, f"--benchmark_filter={pattern}",
                          f"--benchmark_min_time={self.seconds}", "--benchmark_format=json"])
        rows = json.loads(text)["benchmarks"] if text.strip() else []
        if rows and rows[0].get("error_occurred"):
            raise Failure(f"{name}: {rows[0]['error_message']}")
        return rows[0] if rows else None


class Ort:
    """ONNX Runtime, which is asked for peer/ort/<name>."""

    def __init__(self, script):
        self.script = str(script.resolve())

    def measure(self, name):
        text = output_of(["node", self.script, name.removeprefix("peer/ort/")])
        if not text.strip():
            return None
        row = json.loads(text)
        return {"seconds": row["seconds"], "GFLOP/s": row["gflops"]}


def pairs_by_name(names, pattern):
    """(row, rival) for every rival of every row that matches, in the order of the rows."""
    rivals = {}
    for name in names:
        if match := RIVAL.match(name):
            rivals.setdefault(match[2], []).append(name)
    return [(name, rival) for name in names if re.search(pattern, name)
            for rival in rivals.get(name, [])]


def pairs_with_ort(names, pattern):
    return [(name, "peer/ort/" + name) for name in names
            if re.search(pattern, name) and re.match(r"(gemm|softmax|quant/int[48]_)", name)]


def grouped(pairs):
    """{row: its rivals}, so that a row is measured once a round."""
    groups = {}
    for row, rival in pairs:
        groups.setdefault(row, []).append(rival)
    return groups


def source_of(name, bench, ort):
    if not name.startswith("peer/ort/"):
        return bench
    if ort is None:
        raise Failure(f"{name} needs --ort peers/ort.mjs")
    return ort


def measure_group(row, rivals, source_of, rounds):
    """{name: its counters in every round}, without the rivals that do not exist."""
    samples = {name: [] for name in [row, *rivals]}
    for _ in range(rounds):
        for name in list(samples):
            result = source_of(name).measure(name)
            if result is not None:
                samples[name].append(result)
            elif name == row:
                raise Failure(f"weft_bench has no row {row}")
            else:
                del samples[name]
    return samples


def median(samples, counter):
    values = [sample[counter] for sample in samples if counter in sample]
    return statistics.median(values) if values else None


def speed_text(samples):
    """Speed in the unit that fits the row, or the time of a row that counts no work."""
    gflops, rate = median(samples, "GFLOP/s"), median(samples, "bytes/s")
    reads = rate is not None and gflops is not None and rate > 0.3e9 * gflops
    if gflops is not None and not reads:
        return f"{gflops:.1f} GFLOP/s"
    if rate is not None:
        return f"{rate / 1e9:.1f} GB/s"
    return f"{median(samples, 'seconds') * 1e6:.1f} us"


def label(row, rival):
    """What to call a rival beside its row."""
    match = RIVAL.match(rival)
    return match[1].removeprefix("peer/") if match and match[2] == row else rival


def lines_of(row, samples):
    """One table line for each rival of a measured row."""
    ours = samples[row]
    peak = median(ours, "peak")
    for rival, theirs in samples.items():
        if rival == row:
            continue
        rounds = [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs)]
        ratio = median(theirs, "seconds") / median(ours, "seconds")
        yield [row, speed_text(ours), "" if peak is None else f"{peak:.2f}", label(row, rival),
               speed_text(theirs), f"{ratio:.2f}", f"{min(rounds):.2f}-{max(rounds):.2f}"]


HEADER = ["row", "speed", "of peak", "against", "its speed", "ratio", "min-max"]


def lengths_table(bench, question, prefix, pattern, rounds):
    """The counters `prefix`N of the rows question/..., and what they come to."""
    total = {"crossover": "crossover", "per_token": "spread"}[question]
    rows = {}
    for name in bench.names():
        if name.startswith(question + "/") and re.search(pattern, name):
            print(f"measuring {name}", file=sys.stderr)
            rows[name] = [bench.measure(name) for _ in range(rounds)]
    counters = {key for samples in rows.values() for sample in samples for key in sample}
    lengths = sorted(int(key.removeprefix(prefix)) for key in counters if key.startswith(prefix))
    yield ["row", total, *map(str, lengths)]
    for name, samples in rows.items():
        value = median(samples, total)
        cells = [median(samples, f"{prefix}{length}") for length in lengths]
        label = name.removeprefix(question + "/").removesuffix("/iterations:1")
        measured = [length for length, cell in zip(lengths, cells) if cell is not None]
        yield [label, total_text(question, value, measured),
               *("" if cell is None else f"{cell:.3g}" for cell in cells)]


def total_text(question, value, lengths):
    if value is None:
        return f"> {max(lengths)}"
    return f"{value:.0f}" if question == "crossover" else f"{value:.2f}"


def print_plain(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def print_markdown(lines):
    for number, line in enumerate(lines):
        print("| " + " | ".join(line) + " |")
        if number == 0:
            print("|" + " --- |" * len(line))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--bench", type=Path, default=HERE.parent / "build/release/bench/weft_bench",
        help="the program (default: %(default)s)")
    add("--ort", type=Path, metavar="SCRIPT", help="peers/ort.mjs, to include ONNX Runtime")
    add("--filter", default="", metavar="REGEX", help="rows to compare (default: all)")
    add("--pair", nargs=2, action="append", default=[], metavar="ROW",
        help="one more comparison; without --filter, instead of the rows that have rivals")
    add("--rounds", type=int, default=5, help="measurements of each row (default: %(default)s)")
    add("--seconds", type=float, default=0.1, help="least length of one (default: %(default)s)")
    add("--crossover", action="store_true", help="print the rows crossover/...")
    add("--per-token", action="store_true", help="print the rows per_token/...")
    add("--markdown", action="store_true", help="print a Markdown table")
    return parser.parse_args()


def main():
    options = arguments()
    bench = Bench(options.bench, options.seconds)
    show = print_markdown if options.markdown else print_plain
    questions = {"crossover": "of_softmax_", "per_token": "ns_"}
    asked = {name: prefix for name, prefix in questions.items() if getattr(options, name)}
    for name, prefix in asked.items():
        show(list(lengths_table(bench, name, prefix, options.filter, options.rounds)))
    if asked:
        return
    ort = Ort(options.ort) if options.ort else None
    pairs = [tuple(pair) for pair in options.pair]
    if options.filter or not pairs:
        names = [name for name in bench.names() if not RIVAL.match(name)]
        pairs += pairs_by_name(bench.names(), options.filter)
        if options.ort:
            pairs += pairs_with_ort(names, options.filter)
    lines = [HEADER]
    for row, rivals in grouped(pairs).items():
        print(f"measuring {row}", file=sys.stderr)
        samples = measure_group(row, rivals, lambda name: source_of(name, bench, ort),
                                options.rounds)
        lines += lines_of(row, samples)
    show(lines)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"compare.py: {failure}")
