#pragma once

#include <weft/core/executor.hpp>

#include <thread>
#include <vector>

/// As many threads as asked for, started anew for every kernel.
struct FreshThreads {
  template <class Body>
  void operator()(int count, Body body) const {
    std::vector<std::thread> threads;
    for (int worker = 1; worker < count; ++worker) threads.emplace_back(body, worker);
    body(0);
    for (std::thread& thread : threads) thread.join();
  }
};

inline weft::UserExecutor<FreshThreads> fresh_threads(int count) { return {count, FreshThreads{}}; }
