#include "support/catch.hpp"
#include "support/executors.hpp"
#include "support/message.hpp"
#include <weft/core/thread_pool.hpp>

#include <atomic>
#include <thread>
#include <vector>

using weft::Index;

TEST_CASE("thread pool runs every task once", "[executor]") {
  for (int workers : {1, 2, 5}) {
    weft::ThreadPool pool(workers);
    CHECK(pool.workers() == workers);
    check_executor(pool);
  }
  CHECK(weft::ThreadPool().workers() >= 1);
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
      for (int round = 0; round < 100; ++round)
        wrong += sum_of_squares_in_parallel(pool, 20) != 2470;
    });
  for (std::thread& user : users) user.join();
  CHECK(wrong == 0);
}

TEST_CASE("a thread pool needs a worker", "[executor]") {
  CHECK(contains(message_of([] { weft::ThreadPool(0); }), "at least one worker, got 0"));
  CHECK(contains(message_of([] { weft::ThreadPool(-3); }), "at least one worker, got -3"));
}
