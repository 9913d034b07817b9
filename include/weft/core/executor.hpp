#pragma once

#include <weft/core/scratch.hpp>

#include <atomic>
#include <concepts>
#include <memory>
#include <utility>

namespace weft {

/// A reference to a callable `f(Index task, int worker)`; lives no longer than the callable.
class TaskRef {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, TaskRef>)
  TaskRef(F& f) noexcept
      : object_(&f), call_([](void* object, Index task, int worker) {
          (*static_cast<F*>(object))(task, worker);
        }) {}

  void operator()(Index task, int worker) const { call_(object_, task, worker); }

 private:
  void* object_;
  void (*call_)(void*, Index, int);
};

/// Who runs the tasks. `run(tasks, f)` calls f(t, w) exactly once for every t in [0, tasks), in any
/// order, with w in [0, workers()) and at most one call at a time per w, and returns when all are
/// done. weft cuts work into tasks by shape alone, so results do not depend on the executor.
template <class E>
concept Executor = requires(E& e, Index tasks, TaskRef f) {
  { e.workers() } -> std::convertible_to<int>;
  e.run(tasks, f);
};

/// Runs everything on the calling thread, in order.
struct CallingThread {
  int workers() const noexcept { return 1; }
  void run(Index tasks, TaskRef f) const {
    for (Index t = 0; t < tasks; ++t) f(t, 0);
  }
};
static_assert(Executor<CallingThread>);

/// Adapter for threads that a program already has. `spread(n, body)` must call body(w) once for
/// each w in [0, n), concurrently if it can, and return when all are done; that is what most pools'
/// parallel-for does. Tasks are handed out through a counter, so uneven ones balance.
template <class Spread>
class UserExecutor {
 public:
  UserExecutor(int workers, Spread spread) : workers_(workers), spread_(std::move(spread)) {
    require(workers >= 1, "UserExecutor needs at least one worker, got ", workers);
  }

  int workers() const noexcept { return workers_; }

  void run(Index tasks, TaskRef f) {
    std::atomic<Index> next{0};
    const int hands = static_cast<int>(std::min<Index>(workers_, tasks));
    spread_(hands, [&](int worker) {
      for (Index t; (t = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(t, worker);
    });
  }

 private:
  int workers_;
  Spread spread_;
};

/// Executor and scratch memory of one calling thread: the last argument of every kernel.
///
/// A context is cheap to make, but one that is kept also keeps its scratch memory, and then a
/// kernel called again with the same shapes allocates nothing. One context serves one call at a
/// time; the executor must outlive it.
class Context {
 public:
  /// Calling thread only.
  Context()
      : executor_(nullptr),
        run_([](void*, Index tasks, TaskRef f) { CallingThread{}.run(tasks, f); }),
        workers_(1),
        arenas_(std::make_unique<Arena[]>(1)) {}

  template <Executor E>
    requires(!std::same_as<std::remove_const_t<E>, Context>)
  explicit Context(E& executor)
      : executor_(&executor),
        run_([](void* e, Index tasks, TaskRef f) { static_cast<E*>(e)->run(tasks, f); }),
        workers_(static_cast<int>(executor.workers())),
        arenas_(std::make_unique<Arena[]>(static_cast<std::size_t>(workers_))) {}

  int workers() const noexcept { return workers_; }

  /// The calling thread's scratch (worker 0's): for temporaries shared by the tasks of one kernel.
  Arena& arena() const noexcept { return arenas_[0]; }

  /// Calls f(task, arena) for every task, with scratch memory of the worker that runs it.
  template <class F>
  void parallel(Index tasks, F&& f) const {
    auto body = [&](Index task, int worker) {
      Arena& arena = arenas_[static_cast<std::size_t>(worker)];
      Arena::Frame frame(arena);
      f(task, arena);
    };
    if (tasks == 1 || workers_ == 1) {
      for (Index t = 0; t < tasks; ++t) body(t, 0);
    } else if (tasks > 1) {
      run_(executor_, tasks, TaskRef(body));
    }
  }

  /// Gives every worker `bytes` of scratch beforehand.
  void reserve(Index bytes) const {
    for (int w = 0; w < workers_; ++w) arenas_[static_cast<std::size_t>(w)].reserve(bytes);
  }

  /// Bytes of scratch held by all workers.
  Index scratch_bytes() const noexcept {
    Index total = 0;
    for (int w = 0; w < workers_; ++w) total += arenas_[static_cast<std::size_t>(w)].capacity();
    return total;
  }

 private:
  void* executor_;
  void (*run_)(void*, Index, TaskRef);
  int workers_;
  std::unique_ptr<Arena[]> arenas_;
};

}  // namespace weft
