#include <weft/core/executor.hpp>
#include <weft/core/thread_pool.hpp>

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace {

using weft::Index;

// Counts the calls of every task and checks that no worker is in two tasks at once.
struct Witness {
  explicit Witness(Index tasks, int workers)
      : calls(static_cast<std::size_t>(tasks)), inside(static_cast<std::size_t>(workers)) {}

  void operator()(Index task, int worker) {
    const auto w = static_cast<std::size_t>(worker);
    if (worker < 0 || w >= inside.size()) {
      ++faults;
      return;
    }
    if (inside[w].fetch_add(1) != 0) ++faults;
    ++calls[static_cast<std::size_t>(task)];
    inside[w].fetch_sub(1);
  }

  bool each_task_once() const {
    for (const auto& count : calls)
      if (count != 1) return false;
    return faults == 0;
  }

  std::vector<std::atomic<int>> calls;
  std::vector<std::atomic<int>> inside;
  std::atomic<int> faults{0};
};

template <class E>
void check_executor(E& executor) {
  for (Index tasks : {0, 1, 2, 3, 7, 1000}) {
    for (int round = 0; round < 50; ++round) {
      Witness witness(tasks, executor.workers());
      executor.run(tasks, weft::TaskRef(witness));
      if (!witness.each_task_once()) FAIL(tasks << " tasks, round " << round);
    }
  }
  SUCCEED();
}

template <class E>
Index sum_in_parallel(E& executor, Index tasks) {
  weft::Context context(executor);
  std::vector<Index> squares(static_cast<std::size_t>(tasks));
  context.parallel(tasks, [&](Index task, weft::Arena& arena) {
    Index* scratch = arena.take<Index>(1);
    *scratch = task * task;
    squares[static_cast<std::size_t>(task)] = *scratch;
  });
  Index sum = 0;
  for (Index s : squares) sum += s;
  return sum;
}

}  // namespace

TEST_CASE("calling thread runs every task once and in order", "[executor]") {
  weft::CallingThread executor;
  check_executor(executor);
  std::vector<Index> order;
  auto record = [&](Index task, int) { order.push_back(task); };
  executor.run(3, weft::TaskRef(record));
  CHECK(order == std::vector<Index>{0, 1, 2});
}

TEST_CASE("a user's own threads run every task once", "[executor]") {
  for (int workers : {1, 2, 5}) {
    auto executor = fresh_threads(workers);
    CHECK(executor.workers() == workers);
    check_executor(executor);
  }
}

TEST_CASE("thread pool runs every task once", "[executor]") {
  for (int workers : {1, 2, 5}) {
    weft::ThreadPool pool(workers);
    CHECK(pool.workers() == workers);
    check_executor(pool);
  }
  CHECK(weft::ThreadPool().workers() >= 1);
}

TEST_CASE("executors refuse to have no workers", "[executor]") {
  CHECK(contains(message_of([] { weft::ThreadPool(0); }), "at least one worker, got 0"));
  CHECK(contains(message_of([] { fresh_threads(-1); }), "at least one worker, got -1"));
}

TEST_CASE("all workers of a pool take part", "[executor]") {
  weft::ThreadPool pool(3);
  std::atomic<int> present{0};
  // Every task waits for all others: this ends only when three threads run at once.
  auto meet = [&](Index, int) {
    ++present;
    while (present < 3) std::this_thread::yield();
  };
  pool.run(3, weft::TaskRef(meet));
  CHECK(present == 3);
}

TEST_CASE("runs within and beside another run are done by their own thread", "[executor]") {
  weft::ThreadPool pool(3);
  std::atomic<Index> done{0};
  auto inner = [&](Index, int worker) {
    if (worker == 0) ++done;
  };
  auto outer = [&](Index, int) { pool.run(10, weft::TaskRef(inner)); };
  pool.run(6, weft::TaskRef(outer));
  CHECK(done == 60);

  std::vector<std::thread> users;
  std::atomic<int> wrong{0};
  for (int u = 0; u < 4; ++u)
    users.emplace_back([&] {
      for (int round = 0; round < 100; ++round) wrong += sum_in_parallel(pool, 20) != 2470;
    });
  for (std::thread& user : users) user.join();
  CHECK(wrong == 0);
}

TEST_CASE("a context gives every executor the same answer", "[executor]") {
  weft::CallingThread calling;
  weft::ThreadPool pool(4);
  auto own = fresh_threads(3);
  CHECK(sum_in_parallel(calling, 100) == 328350);
  CHECK(sum_in_parallel(pool, 100) == 328350);
  CHECK(sum_in_parallel(own, 100) == 328350);
  CHECK(weft::Context().workers() == 1);
  CHECK(weft::Context(pool).workers() == 4);
}

TEST_CASE("a context hands out scratch per worker and takes it back after each task",
          "[executor]") {
  weft::ThreadPool pool(2);
  weft::Context context(pool);
  context.reserve(1000);
  CHECK(context.scratch_bytes() >= 2000);
  const Index before = context.scratch_bytes();
  std::array<std::atomic<double*>, 2> first{};
  std::atomic<int> moved{0};
  context.parallel(200, [&](Index, weft::Arena& arena) {
    const std::size_t which = &arena == &context.arena() ? 0 : 1;
    double* got = arena.take<double>(100);
    double* expected = nullptr;
    if (!first[which].compare_exchange_strong(expected, got) && expected != got) ++moved;
  });
  CHECK(moved == 0);
  CHECK(context.scratch_bytes() == before);
}
