#pragma once

#include "support/catch.hpp"
#include <weft/core/executor.hpp>

#include <atomic>
#include <vector>

/// Counts the calls of every task and checks that no worker is in two tasks at once.
class Witness {
 public:
  Witness(weft::Index tasks, int workers)
      : calls_(static_cast<std::size_t>(tasks)), inside_(static_cast<std::size_t>(workers)) {}

  void operator()(weft::Index task, int worker) {
    const auto w = static_cast<std::size_t>(worker);
    if (worker < 0 || w >= inside_.size()) {
      ++faults_;
      return;
    }
    if (inside_[w].fetch_add(1) != 0) ++faults_;
    ++calls_[static_cast<std::size_t>(task)];
    inside_[w].fetch_sub(1);
  }

  bool each_task_once() const {
    for (const auto& count : calls_)
      if (count != 1) return false;
    return faults_ == 0;
  }

 private:
  std::vector<std::atomic<int>> calls_;
  std::vector<std::atomic<int>> inside_;
  std::atomic<int> faults_{0};
};

/// Runs batches of all sizes, many times each.
template <class E>
void check_executor(E& executor) {
  for (weft::Index tasks : {0, 1, 2, 3, 7, 1000}) {
    for (int round = 0; round < 50; ++round) {
      Witness witness(tasks, executor.workers());
      executor.run(tasks, weft::TaskRef(witness));
      if (!witness.each_task_once()) FAIL(tasks << " tasks, round " << round);
    }
  }
  SUCCEED();
}

/// 0^2 + 1^2 + ... + (tasks - 1)^2, by way of each worker's scratch memory.
template <class E>
weft::Index sum_of_squares_in_parallel(E& executor, weft::Index tasks) {
  weft::Context context(executor);
  std::vector<weft::Index> squares(static_cast<std::size_t>(tasks));
  context.parallel(tasks, [&](weft::Index task, weft::Arena& arena) {
    auto* scratch = arena.take<weft::Index>(1);
    *scratch = task * task;
    squares[static_cast<std::size_t>(task)] = *scratch;
  });
  weft::Index sum = 0;
  for (weft::Index s : squares) sum += s;
  return sum;
}
