#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/lanes.hpp>

#include <array>
#include <limits>

/// Reductions of one row x[0 .. n) of any storage type, in fp32 (fp64 for fp64).
///
/// The order of the additions depends on n and the instruction set only. They run in 4 * width
/// lanes, so that the relative error of a sum of positive numbers stays below (n / (4 width) + 10)
/// epsilon. A NaN anywhere in the row gives NaN. An empty row has sum 0, maximum -infinity, and
/// mean and variance 0. O(n); memory is read once, for the variance twice.
namespace weft {

namespace detail {

/// Whether lane l < n, as a mask.
template <class A, class T>
[[gnu::always_inline]] inline Lanes<T, A> leading_lanes(Index n) noexcept {
  alignas(64) static constexpr auto kNumbers = [] {
    std::array<T, static_cast<std::size_t>(kWidth<T, A>)> numbers{};
    for (std::size_t l = 0; l < numbers.size(); ++l) numbers[l] = static_cast<T>(l);
    return numbers;
  }();
  return Vec<T, A>::load_aligned(kNumbers.data()) < Vec<T, A>(static_cast<T>(n));
}

/// Folds map(x) of all elements into one register: acc = combine(acc, map(x)).
///
/// Four accumulators hide the latency of `combine`; `neutral` fills the lanes behind the end.
template <class A, class T, class S, class Map, class Combine>
[[gnu::always_inline]] inline Vec<T, A> fold_row(const S* x, Index n, T neutral, Map map,
                                                 Combine combine) noexcept {
  using V = Vec<T, A>;
  constexpr Index width = kWidth<T, A>;
  V a(neutral), b(neutral), c(neutral), d(neutral);
  Index i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    a = combine(a, map(load_as<T, A>(x + i)));
    b = combine(b, map(load_as<T, A>(x + i + width)));
    c = combine(c, map(load_as<T, A>(x + i + 2 * width)));
    d = combine(d, map(load_as<T, A>(x + i + 3 * width)));
  }
  for (; i + width <= n; i += width) a = combine(a, map(load_as<T, A>(x + i)));
  if (i < n) {
    const V tail = map(load_as_partial<T, A>(x + i, n - i));
    b = combine(b, xsimd::select(leading_lanes<A, T>(n - i), tail, V(neutral)));
  }
  return combine(combine(a, b), combine(c, d));
}

template <class A, class S, class Map>
[[gnu::always_inline]] inline Accumulator<S> sum_row(const S* x, Index n, Map map) noexcept {
  using T = Accumulator<S>;
  const auto add = [](const Vec<T, A>& p, const Vec<T, A>& q) { return p + q; };
  return sum_lanes(fold_row<A>(x, n, T(0), map, add));
}

}  // namespace detail

template <class A = DefaultArch, class S>
Accumulator<S> row_sum(const S* x, Index n) noexcept {
  return detail::sum_row<A>(x, n, [](const auto& v) { return v; });
}

template <class A = DefaultArch, class S>
Accumulator<S> row_sum_of_squares(const S* x, Index n) noexcept {
  return detail::sum_row<A>(x, n, [](const auto& v) { return v * v; });
}

template <class T>
struct MeanVariance {
  T mean;
  T variance;  ///< mean of the squared distances from the mean
};

/// The variance is taken in a second pass around the mean, and so does not cancel.
template <class A = DefaultArch, class S>
MeanVariance<Accumulator<S>> row_mean_variance(const S* x, Index n) noexcept {
  using T = Accumulator<S>;
  if (n == 0) return {0, 0};
  const T count = static_cast<T>(n);
  const T mean = row_sum<A>(x, n) / count;
  const T squares = detail::sum_row<A>(x, n, [mean](const auto& v) {
    const auto distance = v - mean;
    return distance * distance;
  });
  return {mean, squares / count};
}

namespace detail {

template <class A, class S, class Map>
[[gnu::always_inline]] inline Accumulator<S> max_row(const S* x, Index n, Accumulator<S> least,
                                                     Map map) noexcept {
  using T = Accumulator<S>;
  using V = Vec<T, A>;
  // The maximum of x86 returns its second operand where one is NaN: max(q, p) keeps a NaN of p.
  const auto larger = [](const V& p, const V& q) {
    return xsimd::select(xsimd::isnan(q), q, xsimd::max(q, p));
  };
  const V largest = fold_row<A>(x, n, least, map, larger);
  return xsimd::any(xsimd::isnan(largest)) ? std::numeric_limits<T>::quiet_NaN()
                                           : max_lanes(largest);
}

}  // namespace detail

template <class A = DefaultArch, class S>
Accumulator<S> row_max(const S* x, Index n) noexcept {
  return detail::max_row<A>(x, n, -std::numeric_limits<Accumulator<S>>::infinity(),
                            [](const auto& v) { return v; });
}

/// max |x|, and 0 of an empty row.
template <class A = DefaultArch, class S>
Accumulator<S> row_max_magnitude(const S* x, Index n) noexcept {
  return detail::max_row<A>(x, n, Accumulator<S>(0), [](const auto& v) { return xsimd::abs(v); });
}

}  // namespace weft
