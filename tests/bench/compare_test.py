#!/usr/bin/env python3
"""bench/compare.py against a stand-in for weft_bench whose times are known."""

import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[2] / "bench/compare.py"

# Runs of a row take the times listed here one after another; a file remembers which came last.
STAND_IN = """\
    #!{python}
    import json, sys
    from pathlib import Path
    SECONDS = {{
        "gemm/nn/forward/f32/M=8": [1.0, 2.0, 4.0],
        "peer/onednn/gemm/nn/forward/f32/M=8": [2.0, 3.0, 6.0],
        "unfused/gemm/nn/forward/f32/M=8": [10.0, 10.0, 10.0],
        "gemm/nn/forward/f32/M=16": [5.0, 5.0, 5.0],
        "gemm/nn/forward/f32/M=1": [1.0, 1.0, 1.0],
        "peer/onednn/gemm/nn/forward/f32/M=1": [0.5, 0.5, 0.5],
    }}
    COUNTERS = {{
        "crossover/linear/a/f32/H=2/iterations:1": {{"of_softmax_64": 1.5, "of_softmax_128": 0.5,
                                                   "crossover": 94.6}},
        "crossover/linear/b/f32/H=2/iterations:1": {{"of_softmax_64": 3.0}},
        "per_token/linear/a/f32/H=2/iterations:1": {{"ns_1024": 100.0, "ns_4096": 110.0,
                                                   "spread": 1.1}},
    }}
    log = Path(sys.argv[0] + ".log")
    for argument in sys.argv[1:]:
        if argument == "--benchmark_list_tests=true":
            print("\\n".join([*SECONDS, *COUNTERS]))
        if argument.startswith("--benchmark_filter="):
            name = argument.split("=", 1)[1].strip("^$")
            ran = log.read_text().split() if log.exists() else []
            log.write_text("\\n".join([*ran, name]))
            rows = [] if name not in SECONDS else [{{
                "name": name, "seconds": SECONDS[name][ran.count(name)], "GFLOP/s": 20.0,
                "bytes/s": 1e9, "peak": 0.5}}]
            rows += [COUNTERS[name]] if name in COUNTERS else []
            print(json.dumps({{"benchmarks": rows}}))
    """


class CompareTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bench = Path(folder.name) / "weft_bench"
        self.bench.write_text(textwrap.dedent(STAND_IN).format(python=sys.executable))
        self.bench.chmod(self.bench.stat().st_mode | stat.S_IXUSR)

    def compare(self, *options):
        command = [sys.executable, COMPARE, "--bench", self.bench, "--rounds", "3", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        return done.returncode, done.stdout, done.stderr

    def runs(self):
        return Path(str(self.bench) + ".log").read_text().split()

    def test_rivals_are_found_by_name_and_ratios_are_of_medians(self):
        code, out, _ = self.compare("--filter", "M=8", "--markdown")
        self.assertEqual(code, 0)
        lines = out.splitlines()
        self.assertEqual(lines[2:], [
            "| gemm/nn/forward/f32/M=8 | 20.0 GFLOP/s | 0.50 | onednn | 20.0 GFLOP/s | 1.50 "
            "| 1.50-2.00 |",
            "| gemm/nn/forward/f32/M=8 | 20.0 GFLOP/s | 0.50 | unfused | 20.0 GFLOP/s | 5.00 "
            "| 2.50-10.00 |"])

    def test_runs_are_interleaved(self):
        self.compare("--filter", "M=8")
        row = "gemm/nn/forward/f32/M=8"
        self.assertEqual(self.runs(), [row, "peer/onednn/" + row, "unfused/" + row] * 3)

    def test_everything_with_a_rival_is_compared_by_default(self):
        _, out, _ = self.compare()
        compared = [line.split()[0] for line in out.splitlines()[1:]]
        self.assertEqual(compared, ["gemm/nn/forward/f32/M=8"] * 2 + ["gemm/nn/forward/f32/M=1"])

    def test_crossovers_are_listed_with_the_ratios_that_led_to_them(self):
        code, out, _ = self.compare("--crossover", "--markdown")
        self.assertEqual(code, 0)
        self.assertEqual(out.splitlines(), [
            "| row | crossover | 64 | 128 |", "| --- | --- | --- | --- |",
            "| linear/a/f32/H=2 | 95 | 1.5 | 0.5 |", "| linear/b/f32/H=2 | > 64 | 3 |  |"])

    def test_time_per_token_is_listed_by_length(self):
        _, out, _ = self.compare("--per-token", "--filter", "linear/a")
        self.assertEqual([line.split() for line in out.splitlines()],
                         [["row", "spread", "1024", "4096"],
                          ["linear/a/f32/H=2", "1.10", "100", "110"]])

    def test_any_two_rows_can_be_a_pair(self):
        _, out, _ = self.compare("--pair", "gemm/nn/forward/f32/M=16", "gemm/nn/forward/f32/M=1")
        self.assertEqual(out.splitlines()[1].split(), [
            "gemm/nn/forward/f32/M=16", "20.0", "GFLOP/s", "0.50", "gemm/nn/forward/f32/M=1",
            "20.0", "GFLOP/s", "0.20", "0.20-0.20"])

    def test_mistakes_are_named(self):
        for options, message in [(["--pair", "gemm/no", "gemm/such"], "no row gemm/no"),
                                 (["--pair", "gemm/nn/forward/f32/M=16", "peer/ort/x"],
                                  "peer/ort/x needs --ort"),
                                 (["--bench", "/nowhere"], "cannot run /nowhere")]:
            code, _, err = self.compare(*options)
            self.assertEqual(code, 1)
            self.assertIn(message, err)


if __name__ == "__main__":
    unittest.main()
