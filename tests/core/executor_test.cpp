#include "support/catch.hpp"
#include "support/executors.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include <weft/core/executor.hpp>
#include <weft/core/thread_pool.hpp>

#include <array>
#include <atomic>
#include <vector>

using weft::Index;

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

TEST_CASE("executors refuse to have no workers", "[executor]") {
  CHECK(contains(message_of([] { fresh_threads(-1); }), "at least one worker, got -1"));
}

TEST_CASE("a context gives every executor the same answer", "[executor]") {
  weft::CallingThread calling;
  weft::ThreadPool pool(4);
  auto own = fresh_threads(3);
  CHECK(sum_of_squares_in_parallel(calling, 100) == 328350);
  CHECK(sum_of_squares_in_parallel(pool, 100) == 328350);
  CHECK(sum_of_squares_in_parallel(own, 100) == 328350);
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
