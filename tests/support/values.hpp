#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

/// A double as an element type, whichever way that type wants it.
template <class T>
T element(double value) {
  if constexpr (std::is_same_v<T, double>)
    return value;
  else
    return T(static_cast<float>(value));
}

/// The same numbers on every machine, even in [low, high).
template <class T, std::size_t Rank>
weft::Tensor<T, Rank> even_values(const std::array<weft::Index, Rank>& shape, std::uint64_t seed,
                                  double low = -1, double high = 1) {
  weft::Tensor<T, Rank> out(shape);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (T& x : out.span()) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = element<T>(low + (high - low) * static_cast<double>(state >> 11) * 0x1p-53);
  }
  return out;
}

/// Memory for a result: NaN everywhere before the call, and guard words on both sides.
template <class T, std::size_t Rank>
class Poisoned {
 public:
  explicit Poisoned(const std::array<weft::Index, Rank>& shape)
      : view_(nullptr, shape), memory_(static_cast<std::size_t>(view_.size() + 2 * kGuard)) {
    std::fill(memory_.begin(), memory_.end(), element<T>(kGuardValue));
    view_ = weft::View<T, Rank>(memory_.data() + kGuard, shape);
    std::fill_n(view_.data(), view_.size(), element<T>(std::numeric_limits<double>::quiet_NaN()));
  }

  weft::View<T, Rank> view() const { return view_; }

  bool guards_intact() const {
    const auto guard = [](T x) { return static_cast<double>(x) == kGuardValue; };
    return std::all_of(memory_.begin(), memory_.begin() + kGuard, guard) &&
           std::all_of(memory_.end() - kGuard, memory_.end(), guard);
  }

 private:
  static constexpr std::ptrdiff_t kGuard = 64;
  static constexpr double kGuardValue = 13.5;  // exact in every element type

  weft::View<T, Rank> view_;
  std::vector<T> memory_;
};

/// The elements in row-major order, as doubles.
template <class T, std::size_t Rank>
std::vector<double> doubles_of(const weft::View<T, Rank>& view) {
  std::vector<double> out;
  if constexpr (Rank == 1) {
    for (weft::Index i = 0; i < view.extent(0); ++i) out.push_back(static_cast<double>(view(i)));
  } else {
    for (weft::Index i = 0; i < view.extent(0); ++i) {
      const std::vector<double> part = doubles_of(view.select(0, i));
      out.insert(out.end(), part.begin(), part.end());
    }
  }
  return out;
}

/// The rows along the first axis, as doubles.
template <class T, std::size_t Rank>
std::vector<std::vector<double>> double_rows(const weft::View<T, Rank>& view) {
  std::vector<std::vector<double>> out;
  for (weft::Index i = 0; i < view.extent(0); ++i) out.push_back(doubles_of(view.select(0, i)));
  return out;
}

/// Largest difference relative to the largest magnitude expected; infinite where a NaN is left.
inline double largest_error(const std::vector<double>& got, const std::vector<double>& expected) {
  double error = got.size() == expected.size() ? 0 : std::numeric_limits<double>::infinity();
  double largest = std::numeric_limits<double>::min();
  for (double e : expected) largest = std::max(largest, std::abs(e));
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    const double d = std::abs(got[i] - expected[i]);
    error = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(error, d / largest);
    if (std::isinf(error)) break;
  }
  return error;
}
