#pragma once

#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/statistic.hpp>

/// Power-Softmax (Power-Softmax: Towards Secure LLM Inference over Encrypted Data,
/// arXiv:2410.09457): an even power in place of the exponential.
///
///   w_ij = x_ij^p / (e + sum_j x_ij^p),    e = eps, or eps L_i when `mean` is set
///
/// over the L_i visible keys of query i; p is positive and even. A denominator of 0 gives weights
/// 0. With `mean`, numerator and denominator are the mean over the keys, which makes eps
/// independent of the length. The equations are those of a published summary; that eps stands
/// inside the mean and that L counts visible keys is our reading.
///
/// PowerSoftmax takes x = s in one pass: x^p leaves the range of fp32 beyond |x| = 4e9 and below
/// 3e-10 (p = 4). StablePowerSoftmax takes x = s / (max_j |s_ij| + delta) in two passes; for eps =
/// 0 both give the same weights. All verbs but those with a log-sum-exp. Throws weft::error when
/// eps or delta are negative or not finite, or a Goldschmidt division has no positive start.
namespace weft {

/// 1 / b by multiplications alone, as encrypted arithmetic has it: n = t, d = b t; `iterations`
/// times f = 2 - d, n <- n f, d <- d f. Converges quadratically where 0 < b t < 2.
template <class T>
constexpr T goldschmidt_reciprocal(T b, T t, int iterations) noexcept {
  T n = t, d = b * t;
  for (int i = 0; i < iterations; ++i) {
    const T f = T(2) - d;
    n *= f;
    d *= f;
  }
  return n;
}

/// How Power-Softmax divides.
struct PowerDivision {
  double eps = 0;      ///< joins the denominator, >= 0
  bool mean = false;   ///< multiply eps by the number of visible keys
  int iterations = 0;  ///< of Goldschmidt's algorithm; 0 divides
  double start = 0;    ///< its t, > 0

  template <class T>
  T factor(T visible, T sum) const noexcept {
    const T b = sum + static_cast<T>(eps) * (mean ? visible : T(1));
    if (b == T(0)) return T(0);
    return iterations == 0 ? T(1) / b
                           : goldschmidt_reciprocal(b, static_cast<T>(start), iterations);
  }
  void check() const {
    require(eps >= 0 && std::isfinite(eps), "PowerSoftmax: eps must be finite and not negative, ",
            "got ", eps);
    require(iterations >= 0, "PowerSoftmax: ", iterations, " iterations; 0 means a division");
    require(iterations == 0 || (start > 0 && std::isfinite(start)),
            "PowerSoftmax: Goldschmidt's division needs a positive start, got ", start);
  }
};

/// w = s^p / (e + sum s^p).
template <int P = 4>
struct PowerSoftmax {
  static_assert(P > 0 && P % 2 == 0, "PowerSoftmax: the power must be positive and even");
  PowerDivision division{};

  template <class T>
  auto weights(const Row&) const noexcept {
    return [](const auto& s, Index) { return detail::raised<P>(s); };
  }
  template <class T>
  T factor(T visible, T sum, const Row&) const noexcept {
    return division.factor(visible, sum);
  }
  void check(Index, Index, Index, Index) const { division.check(); }
};
static_assert(ElementwiseNormalizer<PowerSoftmax<>>);

/// The same of s / (max |s| + delta).
template <int P = 4>
struct StablePowerSoftmax {
  static_assert(P > 0 && P % 2 == 0, "PowerSoftmax: the power must be positive and even");
  PowerDivision division{};
  double delta = 0;  ///< >= 0

  auto statistic() const noexcept { return detail::LargestMagnitude{}; }
  template <class T>
  auto weights(const T* largest, const Row&) const noexcept {
    const T c = *largest + static_cast<T>(delta);
    return [shrink = c > T(0) ? T(1) / c : T(0)](const auto& s, Index) {
      using V = std::remove_cvref_t<decltype(s)>;
      return detail::raised<P>(V(s * V(shrink)));
    };
  }
  template <class T>
  T factor(T visible, T sum, const Row&) const noexcept {
    return division.factor(visible, sum);
  }
  void check(Index, Index, Index, Index) const {
    division.check();
    require(delta >= 0 && std::isfinite(delta),
            "PowerSoftmax: delta must be finite and not negative, got ", delta);
  }
};
static_assert(TwoPassNormalizer<StablePowerSoftmax<>>);

}  // namespace weft
