#pragma once

#include <weft/core/check.hpp>

#include <cmath>
#include <concepts>

/// Denominators: what the sum of weighted values of a token is divided by, given the sum of its
/// weights den = scale phi(q) . sum phi(k) and the number of keys in it.
///
///   template <class T> T factor(T den, Index keys) const
///
/// is what the sum of weighted values is multiplied by.
namespace weft {

template <class Z>
concept Denominator = requires(const Z& z, float den, Index keys) {
  { z.factor(den, keys) } -> std::same_as<float>;
  { Z::needed } -> std::convertible_to<bool>;
};

/// out = numerator.
struct NoDenominator {
  static constexpr bool needed = false;
  template <class T>
  T factor(T, Index) const noexcept {
    return T(1);
  }
};

/// out = numerator / (den + eps). eps = 0 divides by den alone; no weight at all gives 0.
struct PlusEpsilon {
  static constexpr bool needed = true;
  double eps = 1e-6;

  template <class T>
  T factor(T den, Index keys) const noexcept {
    return keys == 0 ? T(0) : 1 / (den + static_cast<T>(eps));
  }
};

/// out = mean of weighted values / (mean weight + eps), over all keys.
struct MeanPlusEpsilon {
  static constexpr bool needed = true;
  double eps = 1e-6;

  template <class T>
  T factor(T den, Index keys) const noexcept {
    return keys == 0 ? T(0) : 1 / (den + static_cast<T>(eps * static_cast<double>(keys)));
  }
};

/// out = numerator / max(den, eps).
struct AtLeastEpsilon {
  static constexpr bool needed = true;
  double eps = 1e-6;

  template <class T>
  T factor(T den, Index) const noexcept {
    const T least = static_cast<T>(eps);
    return 1 / (den < least ? least : den);
  }
};

/// out = numerator / (den + 2 eps where |den| <= eps): far from zero on either side.
struct AwayFromZero {
  static constexpr bool needed = true;
  double eps = 1e-6;

  template <class T>
  T factor(T den, Index keys) const noexcept {
    const T e = static_cast<T>(eps);
    return keys == 0 ? T(0) : 1 / (std::abs(den) <= e ? den + 2 * e : den);
  }
};

static_assert(Denominator<NoDenominator> && Denominator<PlusEpsilon>);

}  // namespace weft
