#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/view.hpp>

#include <concepts>

/// What happens to an element of a matrix product between the accumulator and memory.
///
///   C(m, n) = epilogue(sum_k A(m, k) B(k, n))
///
/// An epilogue is applied exactly once per element, on whole registers, while the accumulators of
/// a tile are in the L1 cache. Compose with `Then`:
///
///   gemm(x, w, y, Then{Bias{bias}, Activate<GeluErf>{}}, ctx);       y = gelu(x w + bias)
///   gemm(x, w, y, AddResidual{y}, ctx);                              y = y + x w
namespace weft {

/// Changes the lanes C(row, col), ..., C(row, col + lanes - 1); the other lanes of the register are
/// ignored, and memory must not be read for them. An epilogue that reads memory may have a member
/// `check(rows, cols)`, called once before anything is written, that throws where it does not fit.
template <class E, class T = float, class A = DefaultArch>
concept Epilogue = std::copy_constructible<E> &&
                   requires(const E& e, Vec<T, A> acc, Index row, Index col, Index lanes) {
                     { e(acc, row, col, lanes) } noexcept -> std::same_as<Vec<T, A>>;
                   };

namespace detail {

/// Lanes of storage S as the registers V of an accumulator.
template <class V, class S>
[[gnu::always_inline]] inline V load_lanes(const S* p, Index lanes) noexcept {
  using T = typename V::value_type;
  using Registers = Arch<typename V::arch_type>;
  if (lanes == static_cast<Index>(V::size)) return load_as<T, Registers>(p);
  return load_as_partial<T, Registers>(p, lanes);
}

template <class E>
void check_epilogue(const E& epilogue, Index rows, Index cols) {
  if constexpr (requires { epilogue.check(rows, cols); }) epilogue.check(rows, cols);
}

}  // namespace detail

/// C = A B.
struct NoEpilogue {
  template <class V>
  V operator()(V acc, Index, Index, Index) const noexcept {
    return acc;
  }
};
static_assert(Epilogue<NoEpilogue> && Epilogue<NoEpilogue, double>);

/// C(m, n) = acc + values(n); stride 1.
template <class T>
struct Bias {
  View<const T, 1> values;

  template <class V>
  V operator()(V acc, Index, Index col, Index lanes) const noexcept {
    return acc + detail::load_lanes<V>(values.data() + col, lanes);
  }

  void check(Index, Index cols) const {
    require(values.extent(0) == cols, "Bias: ", values.extent(0), " values for a product of ", cols,
            " columns; give one per column");
    require(cols <= 1 || values.stride(0) == 1, "Bias: the values have stride ", values.stride(0),
            ", need 1");
  }
};
template <class X>
Bias(const X&) -> Bias<typename X::value_type>;
static_assert(Epilogue<Bias<float>> && Epilogue<Bias<bf16>> && Epilogue<Bias<double>, double>);

/// C(m, n) = acc + values(m, n); rows of stride 1. The view may be C itself: then C += A B.
template <class T>
struct AddResidual {
  View<const T, 2> values;

  template <class V>
  V operator()(V acc, Index row, Index col, Index lanes) const noexcept {
    return acc + detail::load_lanes<V>(values.pointer(row) + col, lanes);
  }

  void check(Index rows, Index cols) const {
    require(values.extent(0) == rows && values.extent(1) == cols, "AddResidual: values are [",
            values.extent(0), ", ", values.extent(1), "], the product is [", rows, ", ", cols, "]");
    require(cols <= 1 || values.stride(1) == 1, "AddResidual: the rows have stride ",
            values.stride(1), ", need 1");
  }
};
template <class X>
AddResidual(const X&) -> AddResidual<typename X::value_type>;
static_assert(Epilogue<AddResidual<float>> && Epilogue<AddResidual<double>, double>);

/// C = factor acc.
struct Scale {
  double factor;

  template <class V>
  V operator()(V acc, Index, Index, Index) const noexcept {
    return acc * V(static_cast<typename V::value_type>(factor));
  }
};
static_assert(Epilogue<Scale> && Epilogue<Scale, double>);

/// C = F{}(acc), F a stateless function of a register, such as those of core/activation.hpp.
template <class F>
struct Activate {
  template <class V>
  V operator()(V acc, Index, Index, Index) const noexcept {
    return F{}(acc);
  }
};

/// C = second(first(acc)).
template <class First, class Second>
struct Then {
  First first;
  Second second;

  template <class V>
  auto operator()(V acc, Index row, Index col, Index lanes) const noexcept {
    return second(first(acc, row, col, lanes), row, col, lanes);
  }

  void check(Index rows, Index cols) const {
    detail::check_epilogue(first, rows, cols);
    detail::check_epilogue(second, rows, cols);
  }
};
template <class First, class Second>
Then(First, Second) -> Then<First, Second>;
static_assert(Epilogue<Then<Scale, Bias<float>>>);

}  // namespace weft
