#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/view.hpp>

#include <numeric>
#include <type_traits>
#include <vector>

namespace {

using weft::Index;
using weft::View;
using weft::view_of;

std::vector<int> counted(std::size_t n) {
  std::vector<int> out(n);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

TEST_CASE("view addresses row-major elements", "[view]") {
  auto data = counted(24);
  View<int, 3> v(data.data(), {2, 3, 4});
  CHECK(v.strides() == std::array<Index, 3>{12, 4, 1});
  CHECK(v.size() == 24);
  CHECK(v.is_packed());
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 4; ++k) CHECK(v(i, j, k) == i * 12 + j * 4 + k);
  CHECK(v.pointer() == data.data());
  CHECK(v.pointer(1) == data.data() + 12);
  CHECK(v.pointer(1, 2) == data.data() + 20);
  v(1, 0, 3) = -1;
  CHECK(data[15] == -1);
}

TEST_CASE("view takes any strides", "[view]") {
  auto data = counted(12);
  View<int, 2> backwards(data.data() + 11, {3, 4}, {-4, -1});
  CHECK(backwards(0, 0) == 11);
  CHECK(backwards(2, 3) == 0);
  CHECK_FALSE(backwards.is_packed());
  View<int, 2> repeated(data.data(), {5, 3}, {0, 2});
  CHECK(repeated(4, 2) == 4);
}

TEST_CASE("heads inside rows are viewed without a copy", "[view]") {
  constexpr Index B = 2, N = 3, H = 4, D = 5;
  auto data = counted(B * N * H * D);
  auto v = View<int, 4>(data.data(), {B, N, H, D}).transpose(1, 2);
  CHECK(v.shape() == std::array<Index, 4>{B, H, N, D});
  CHECK(v.stride(3) == 1);
  CHECK_FALSE(v.is_packed());
  CHECK(v(1, 3, 2, 4) == ((1 * N + 2) * H + 3) * D + 4);
}

TEST_CASE("view of const takes views of mutable elements", "[view]") {
  auto data = counted(4);
  View<int, 1> v = view_of(data);
  View<const int, 1> c = v;
  CHECK(c.data() == data.data());
  static_assert(!std::is_convertible_v<View<const int, 1>, View<int, 1>>);
  static_assert(std::is_same_v<View<const int, 1>::value_type, int>);
}

TEST_CASE("slice and select", "[view]") {
  auto data = counted(24);
  const View<int, 3> v(data.data(), {2, 3, 4});
  const auto s = v.slice(1, 1, 2);
  CHECK(s.shape() == std::array<Index, 3>{2, 2, 4});
  CHECK(s(1, 0, 0) == v(1, 1, 0));
  CHECK(v.slice(2, 4, 0).empty());

  const View<int, 2> middle = v.select(1, 2);
  CHECK(middle.shape() == std::array<Index, 2>{2, 4});
  CHECK(middle(1, 3) == v(1, 2, 3));
  CHECK(v.select(0, 1)(2, 3) == 23);

  CHECK(contains(message_of([&] { v.slice(1, 2, 2); }), "slice [2, 4) leaves an axis of extent 3"));
  CHECK(contains(message_of([&] { v.slice(1, -1, 2); }), "slice [-1, 1)"));
  CHECK(contains(message_of([&] { v.slice(1, 1, -1); }), "slice [1, 0)"));
  CHECK(contains(message_of([&] { v.select(2, 4); }), "position 4 leaves an axis of extent 4"));
  CHECK(contains(message_of([&] { v.select(0, -1); }), "position -1"));
}

TEST_CASE("broadcast stretches axes of extent one", "[view]") {
  auto data = counted(3);
  const View<int, 2> row(data.data(), {1, 3});
  const auto wide = row.broadcast({4, 3});
  CHECK(wide.stride(0) == 0);
  CHECK(wide(3, 2) == 2);
  CHECK_FALSE(wide.is_packed());
  CHECK(contains(message_of([&] {
                   row.broadcast({4, 6});
                 }),
                 "cannot stretch axis 1 of extent 3 to 6"));
}

TEST_CASE("reshape keeps the elements of a packed view", "[view]") {
  auto data = counted(24);
  const View<int, 2> v(data.data(), {6, 4});
  CHECK(v.reshape<3>({2, 3, 4})(1, 2, 3) == 23);
  CHECK(v.reshape<1>({24})(5) == 5);
  CHECK(contains(message_of([&] {
                   v.reshape<2>({5, 5});
                 }),
                 "reshape to 25 elements, the view has 24"));
  CHECK(contains(message_of([&] { v.transpose(0, 1).reshape<1>({24}); }), "without gaps"));
}

TEST_CASE("a view knows whether it is packed", "[view]") {
  auto data = counted(24);
  CHECK(View<int, 2>(data.data(), {1, 4}, {100, 1}).is_packed());  // a stride nobody steps along
  CHECK_FALSE(View<int, 2>(data.data(), {2, 4}, {5, 1}).is_packed());
  CHECK(View<int, 3>(data.data(), {2, 0, 4}).empty());
  CHECK(View<int, 2>().empty());
}

TEST_CASE("negative extents are refused", "[view]") {
  int x = 0;
  CHECK(contains(message_of([&] { View<int, 2>(&x, {1, -2}); }), "negative extent -2"));
}

TEST_CASE("views of spans and vectors", "[view]") {
  auto data = counted(6);
  const auto& constant = data;
  CHECK(view_of(data).extent(0) == 6);
  CHECK(view_of(std::span<int>(data)).data() == data.data());
  static_assert(std::is_same_v<decltype(view_of(constant)), View<const int, 1>>);
  const auto matrix = view_of(data, std::array<Index, 2>{2, 3});
  CHECK(matrix(1, 2) == 5);
  CHECK(view_of(constant, std::array<Index, 2>{1, 3})(0, 1) == 1);
  CHECK(contains(message_of([&] {
                   view_of(data, std::array<Index, 2>{2, 4});
                 }),
                 "the shape needs 8 elements, the buffer has 6"));
}

TEST_CASE("a shape as text", "[view]") {
  CHECK(shape_text(View<const int, 3>(nullptr, {2, 0, 64})) == "[2, 0, 64]");
}

TEST_CASE("views are constant expressions", "[view]") {
  static constexpr int data[4] = {1, 2, 3, 4};
  static_assert(View<const int, 2>(data, {2, 2}).transpose(0, 1)(0, 1) == 3);
}
