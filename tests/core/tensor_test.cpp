#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

using weft::Index;
using weft::Tensor;
using weft::View;

template <class T>
bool aligned(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % 64 == 0;
}

}  // namespace

TEST_CASE("tensor starts as zeros on a cache line", "[tensor]") {
  for (Index n : {1, 7, 1000}) {
    Tensor<float, 2> t({n, 3});
    CHECK(aligned(t.data()));
    CHECK(t.size() == 3 * n);
    CHECK(std::all_of(t.span().begin(), t.span().end(), [](float x) { return x == 0; }));
  }
}

TEST_CASE("tensor elements are row-major", "[tensor]") {
  Tensor<int, 2> t({2, 3});
  t(1, 2) = 7;
  CHECK(t.data()[5] == 7);
  CHECK(t.view()(1, 2) == 7);
  const Tensor<int, 2>& c = t;
  CHECK(c(1, 2) == 7);
  static_assert(std::is_same_v<decltype(c.view()), View<const int, 2>>);
}

TEST_CASE("tensor converts to views", "[tensor]") {
  Tensor<float, 2> t({2, 3});
  View<float, 2> v = t;
  View<const float, 2> c = std::as_const(t);
  CHECK(v.data() == t.data());
  CHECK(c.data() == t.data());
  CHECK(weft::view_of(t).shape() == t.shape());
  static_assert(weft::ViewLike<Tensor<float, 2>&, 2>);
  static_assert(weft::ViewLike<const Tensor<float, 2>&, 2>);
  static_assert(weft::ViewLike<View<float, 2>, 2>);
  static_assert(weft::ViewLike<std::vector<float>&, 1>);
  static_assert(!weft::ViewLike<Tensor<float, 2>&, 3>);
  static_assert(!weft::ViewLike<int, 1>);
}

TEST_CASE("tensor is copied only on request", "[tensor]") {
  static_assert(!std::is_copy_constructible_v<Tensor<float, 1>>);
  Tensor<float, 1> t({3});
  t(1) = 2;
  Tensor<float, 1> copy = t.clone();
  copy(1) = 5;
  CHECK(t(1) == 2);
  CHECK(copy(1) == 5);
}

TEST_CASE("tensor moves its memory and leaves an empty one", "[tensor]") {
  Tensor<float, 1> t({3});
  const float* data = t.data();
  Tensor<float, 1> moved = std::move(t);
  CHECK(moved.data() == data);
  CHECK(moved.size() == 3);
  CHECK(t.size() == 0);
  CHECK(t.data() == nullptr);
  t = std::move(moved);
  CHECK(t.data() == data);
  CHECK(moved.view().empty());
}

TEST_CASE("tensors may be empty", "[tensor]") {
  Tensor<float, 3> none;
  CHECK(none.size() == 0);
  Tensor<float, 3> zero({2, 0, 4});
  CHECK(zero.size() == 0);
  CHECK(zero.extent(2) == 4);
  CHECK(zero.clone().shape() == zero.shape());
}

TEST_CASE("a tensor cannot have a negative extent", "[tensor]") {
  CHECK(contains(message_of([] { Tensor<float, 2>({3, -1}); }), "negative extent -1"));
}
