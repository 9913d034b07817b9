"""Checks the rules of the folders below include/weft. Usage: layers.py FOLDER | --self-test

A header may include its own floor and lower ones, never a higher one, and no other family's
folder except the one whose engine its family is built on. Library headers stay free of what a
library must not do by itself, and within the measures of a readable file.
"""

import pathlib
import re
import sys
import tempfile

FLOORS = {
    "core": 0, "catalog": 0,
    "attention": 1, "position": 1, "cache": 1, "layer": 1, "vision": 1,
    "quant": 2, "prune": 2,
    "io": 3, "dist": 3, "interop": 3,
}
EDGE = 3
TOP = {"weft.hpp": 2, "catalog.hpp": 2, "quant.hpp": 2}  # files of no folder, and the highest floor they may include

# Families that hand their work to another family's engine: block masks, permutations and the local
# half of joint mixers to softmax; feature maps, deltas, flows and state spaces to the linear
# recurrence; landmarks, projections and latents are softmax attention of few keys.
BUILT_ON = {
    "linear": {"softmax"},
    "sparse": {"softmax"},
    "kernelized": {"linear", "softmax"},
    "flow": {"linear"},
    "delta": {"linear"},
    "ssm": {"linear"},
}

# Eigen's inline functions carry no Arch in their names: only where nothing is built per instruction
# set.
EIGEN_USERS = {"core/thread_pool.hpp", "interop/eigen.hpp", "quant/gptq.hpp",
               "quant/gptq_refine.hpp"}

COSTLY = {"iostream", "functional", "regex", "random"}
FORBIDDEN = [
    (r"\bthread_local\b", "thread_local"),
    (r"#\s*pragma\s+omp\b", "OpenMP"),
    (r"\bgetenv\b", "environment variables"),
    (r"\bstd::(cout|cerr|clog)\b|\bf?printf\s*\(|\bputs\s*\(", "printing"),
    (r"\babort\s*\(|\bstd::exit\b|\bterminate\s*\(", "ending the program"),
]
MAX_LINES = 600
MAX_COLUMNS = 100


def family(path):
    """The family of a header: softmax for attention/softmax/x.hpp and attention/softmax.hpp."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] != "attention" or len(parts) < 2:
        return None
    return parts[1].removesuffix(".hpp")


def is_umbrella(path):
    return path in ("weft.hpp", "quant.hpp") or bool(re.fullmatch(r"attention/\w+\.hpp", path))


def floor_of(path):
    folder = path.split("/")[0]
    return TOP.get(path, FLOORS.get(folder))


def check_include(path, included):
    """What is wrong with `path` including the weft header `included`, as a list of sentences."""
    problems = []
    if floor_of(included) is None:
        problems.append(f"includes {included}, which is in no known folder")
    elif floor_of(included) > floor_of(path):
        problems.append(f"is on floor {floor_of(path)} and includes {included} of floor "
                        f"{floor_of(included)}")
    if is_umbrella(included) and not is_umbrella(path) and floor_of(path) < EDGE:
        problems.append(f"includes the umbrella {included}; include what is needed")
    own, other = family(path), family(included)
    if own and other and own != other and other not in BUILT_ON.get(own, set()):
        problems.append(f"of the family {own} includes {included} of the family {other}")
    return problems


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


def check_text(path, text):
    """What is wrong with the header itself."""
    problems = []
    lines = text.splitlines()
    if not lines or lines[0] != "#pragma once":
        problems.append("does not start with #pragma once")
    if len(lines) > MAX_LINES:
        problems.append(f"has {len(lines)} lines; split it by idea, at most {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            problems.append(f"line {number} is not ASCII")
        if len(line) > MAX_COLUMNS and not line.startswith("#error"):
            problems.append(f"line {number} has {len(line)} columns, at most {MAX_COLUMNS}")
    code = without_comments(text)
    for included in re.findall(r"#\s*include\s*<([^>]+)>", code):
        if included in COSTLY and floor_of(path) < EDGE:
            problems.append(f"includes <{included}>, too costly or not needed below io/")
        if included.startswith("Eigen") or included.startswith("unsupported/Eigen"):
            if path not in EIGEN_USERS:
                problems.append(f"includes <{included}>; Eigen only in {sorted(EIGEN_USERS)}")
    for quoted in re.findall(r'#\s*include\s*"([^"]+)"', code):
        problems.append(f'includes "{quoted}"; write <weft/...>')
    for pattern, what in FORBIDDEN:
        if re.search(pattern, code):
            problems.append(f"contains {what}")
    return problems


def find_cycle(includes):
    """A list of headers that include each other in a ring, or None."""
    done, stack = set(), []

    def visit(path):
        if path in stack:
            return stack[stack.index(path):] + [path]
        if path in done:
            return None
        stack.append(path)
        for included in includes.get(path, []):
            if ring := visit(included):
                return ring
        stack.pop()
        done.add(path)
        return None

    for path in includes:
        if ring := visit(path):
            return ring
    return None


def check_folder(root):
    """All problems below `root`, one sentence each, and the number of headers."""
    problems, includes = [], {}
    for file in sorted(root.rglob("*.hpp")):
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        if floor_of(path) is None:
            problems.append(f"{path} is in no known folder ({', '.join(FLOORS)})")
            continue
        includes[path] = re.findall(r"#\s*include\s*<weft/([^>]+)>", without_comments(text))
        found = check_text(path, text)
        for included in includes[path]:
            found += check_include(path, included)
        problems += [f"{path} {problem}" for problem in found]
    if ring := find_cycle(includes):
        problems.append("headers include each other: " + " -> ".join(ring))
    return problems, len(includes)


def self_test():
    """Every rule finds a header that breaks it, and none finds fault with a good one."""
    good = {
        "core/view.hpp": "#pragma once\n#include <array>\n",
        "attention/softmax/engine.hpp": "#pragma once\n#include <weft/core/view.hpp>\n",
        "attention/sparse/blocks.hpp": "#pragma once\n#include <weft/attention/softmax/engine.hpp>\n",
        "io/npy.hpp": "#pragma once\n#include <iostream>\n#include <weft/core/view.hpp>\n",
        "attention/softmax.hpp": "#pragma once\n#include <weft/attention/softmax/engine.hpp>\n",
    }
    bad = [
        ("core/bad.hpp", "#pragma once\n#include <weft/io/npy.hpp>\n", "floor 0"),
        ("layer/bad.hpp", "#pragma once\n#include <weft/quant/int8.hpp>\n", "floor 1"),
        ("attention/softmax/bad.hpp", "#pragma once\n#include <weft/attention/linear/e.hpp>\n",
         "family linear"),
        ("layer/bad.hpp", "#pragma once\n#include <weft/attention/softmax.hpp>\n", "umbrella"),
        ("other/bad.hpp", "#pragma once\n", "no known folder"),
        ("core/bad.hpp", "// no guard\n", "#pragma once"),
        ("core/bad.hpp", "#pragma once\n" + "\n" * 600, "lines"),
        ("core/bad.hpp", "#pragma once\n// " + "x" * 100 + "\n", "columns"),
        ("core/bad.hpp", "#pragma once\n// \u00b5\n", "ASCII"),
        ("core/bad.hpp", "#pragma once\n#include <regex>\n", "<regex>"),
        ("layer/bad.hpp", "#pragma once\n#include <Eigen/Core>\n", "Eigen"),
        ("core/bad.hpp", '#pragma once\n#include "view.hpp"\n', "write <weft/...>"),
        ("core/bad.hpp", "#pragma once\nthread_local int x;\n", "thread_local"),
        ("core/bad.hpp", "#pragma once\nvoid f() { std::printf(\"\"); }\n", "printing"),
        ("core/bad.hpp", "#pragma once\n#include <weft/core/bad.hpp>\n", "each other"),
    ]
    for name, text, expected in [("core/fine.hpp", "#pragma once\n", None)] + bad:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, content in {**good, name: text}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content, encoding="utf-8")
            problems, _ = check_folder(root)
        if expected is None:
            assert not problems, problems
        else:
            assert any(expected in problem for problem in problems), (name, expected, problems)


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) != 2:
        print(__doc__.splitlines()[0])
        return 2
    problems, count = check_folder(pathlib.Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    print(f"{count} headers, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


sys.exit(main())
