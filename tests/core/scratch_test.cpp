#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/executor.hpp>
#include <weft/core/scratch.hpp>
#include <weft/core/thread_pool.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

using weft::Arena;
using weft::Index;

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % weft::kAlignment == 0; }

// Takes pieces of growing size in nested frames and writes all of them.
void nested_work(Arena& arena, int depth) {
  Arena::Frame frame(arena);
  const Index n = 100 * (depth + 1);
  float* mine = arena.take<float>(n);
  std::fill_n(mine, n, static_cast<float>(depth));
  if (depth > 0) nested_work(arena, depth - 1);
  const auto all_kept = [&] {
    return std::all_of(mine, mine + n, [&](float x) { return x == static_cast<float>(depth); });
  };
  CHECK(all_kept());
}

}  // namespace

TEST_CASE("allocation counter sees all forms of new", "[scratch]") {
  const long before = allocations();
  // volatile, because compilers may leave out pairs of new and delete.
  int* volatile one = new int(1);
  double* volatile three = new double[3];
  void* volatile lined = ::operator new(100, std::align_val_t{64});
  void* volatile quiet = ::operator new(100, std::nothrow);
  delete one;
  delete[] three;
  ::operator delete(lined, std::align_val_t{64});
  ::operator delete(quiet);
  CHECK(allocations() - before == 4);
}

TEST_CASE("arena hands out aligned memory that does not overlap", "[scratch]") {
  Arena arena;
  Arena::Frame frame(arena);
  std::vector<char*> begins;
  for (Index bytes : {1, 63, 64, 65, 5000, 1, 100'000, 3}) {
    char* p = arena.take<char>(bytes);
    CHECK(aligned(p));
    std::fill_n(p, bytes, static_cast<char>(begins.size()));
    begins.push_back(p);
  }
  for (std::size_t i = 0; i < begins.size(); ++i) CHECK(*begins[i] == static_cast<char>(i));
}

TEST_CASE("arena gives the same memory again after a frame", "[scratch]") {
  Arena arena;
  arena.reserve(10'000);
  Arena::Frame outer(arena);
  const double* kept = arena.take<double>(10);
  const double* first = nullptr;
  for (int round = 0; round < 3; ++round) {
    Arena::Frame frame(arena);
    const double* p = arena.take<double>(50);
    if (round == 0) first = p;
    CHECK(p == first);
    CHECK(p != kept);
  }
}

TEST_CASE("arena keeps what outer frames hold while it grows", "[scratch]") {
  Arena arena;
  nested_work(arena, 20);
}

TEST_CASE("arena grows in the first turn only", "[scratch]") {
  Arena arena;
  CHECK(arena.capacity() == 0);
  nested_work(arena, 20);
  const Index grown = arena.capacity();
  CHECK(grown >= 100 * 21 * 22 / 2 * static_cast<Index>(sizeof(float)));
  const long before = allocations();
  nested_work(arena, 20);
  CHECK(allocations() == before);
  CHECK(arena.capacity() == grown);
}

TEST_CASE("arena can be given room beforehand", "[scratch]") {
  Arena arena;
  arena.reserve(1 << 20);
  CHECK(arena.capacity() >= 1 << 20);
  const long before = allocations();
  {
    Arena::Frame frame(arena);
    arena.take<char>(1 << 19);
    arena.take<char>(1 << 19);
  }
  arena.reserve(1 << 10);
  CHECK(allocations() == before);

  Arena::Frame frame(arena);
  CHECK(contains(message_of([&] { arena.reserve(1 << 21); }), "inside a frame"));
}

TEST_CASE("arena takes zero elements", "[scratch]") {
  Arena arena;
  Arena::Frame frame(arena);
  CHECK(arena.take<float>(0) != nullptr);
}

TEST_CASE("arena moves with its memory", "[scratch]") {
  Arena arena;
  arena.reserve(1000);
  Arena moved = std::move(arena);
  CHECK(moved.capacity() >= 1000);
}

TEST_CASE("a kept context and pool allocate in the first run only", "[scratch]") {
  weft::ThreadPool pool(3);
  weft::Context context(pool);
  const auto run = [&] {
    context.parallel(30, [](Index task, Arena& arena) {
      float* p = arena.take<float>(1000 + 10 * task);
      std::fill_n(p, 1000, 1.f);
    });
  };
  context.reserve(4 * 1300);
  run();
  const long before = allocations();
  for (int round = 0; round < 20; ++round) run();
  CHECK(allocations() == before);
}
