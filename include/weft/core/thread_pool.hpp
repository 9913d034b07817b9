#pragma once

#include <weft/core/executor.hpp>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wuninitialized"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wdeprecated-copy"
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <unsupported/Eigen/CXX11/ThreadPool>
#pragma GCC diagnostic pop

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>

namespace weft {

/// Threads for a Context: an Executor over Eigen's work-stealing pool.
///
///   ThreadPool pool(8);
///   Context context(pool);
///
/// The calling thread is one of the workers and starts at once; the others join as they wake up,
/// and `run` never waits for one that has not. Tasks are handed out through a counter, so uneven
/// ones balance. They must not throw (weft's kernels check their arguments before they start
/// tasks). A `run` begun while another is under way, from inside a task or by another thread, is
/// done by its calling thread alone. Nothing is allocated after construction.
///
/// Eigen's functions do not carry an instruction set in their names: in a program that is compiled
/// for several, include this header only in sources compiled for the least of them.
class ThreadPool {
 public:
  /// `workers` threads including the caller; throws when it is less than one.
  explicit ThreadPool(int workers) : workers_(workers) {
    require(workers >= 1, "ThreadPool needs at least one worker, got ", workers);
    if (workers > 1) pool_ = std::make_unique<Eigen::ThreadPool>(workers - 1);
  }

  /// One worker for each thread of the processor.
  ThreadPool() : ThreadPool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))) {}

  int workers() const noexcept { return workers_; }

  void run(Index tasks, TaskRef f) {
    const auto helpers = static_cast<int>(std::min<Index>(workers_, tasks)) - 1;
    if (helpers <= 0 || busy_.test_and_set(std::memory_order_acquire))
      return CallingThread{}.run(tasks, f);
    job_.emplace(tasks, f);
    open_ = true;
    call(helpers);
    job_->work(0);
    open_ = false;
    for (int active; (active = active_) != 0;) active_.wait(active);
    busy_.clear(std::memory_order_release);
  }

 private:
  struct Job {
    Job(Index count, TaskRef task) : tasks(count), f(task) {}

    void work(int worker) {
      for (Index t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(t, worker);
    }

    const Index tasks;
    const TaskRef f;
    alignas(kAlignment) std::atomic<Index> next{0};  // not on the line that all workers read
  };

  // A helper that was called for an earlier job and wakes up only now serves the present one, so
  // only the missing ones are called.
  void call(int helpers) {
    while (called_ < helpers) {
      ++called_;
      pool_->Schedule([this] { help(); });
    }
  }

  // Whoever has counted itself active and then found the job open is waited for; whoever comes
  // later does not touch the job. (All these atomics are sequentially consistent.)
  void help() {
    --called_;
    const int thread = pool_->CurrentThreadId();
    if (thread < 0) return;  // the queue was full, and this is the calling thread
    ++active_;
    if (open_) job_->work(thread + 1);
    --active_;
    active_.notify_one();
  }

  int workers_;
  std::optional<Job> job_;
  std::atomic<bool> open_{false};
  std::atomic<int> active_{0};
  std::atomic<int> called_{0};
  std::atomic_flag busy_;
  std::unique_ptr<Eigen::ThreadPool> pool_;  // last: its threads end before what they use
};
static_assert(Executor<ThreadPool>);

}  // namespace weft
