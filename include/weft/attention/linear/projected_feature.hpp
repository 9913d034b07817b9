#pragma once

#include <weft/attention/linear/feature.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/tensor.hpp>
#include <weft/core/tile_product.hpp>

/// Feature maps that begin with a matrix, u = W x + b, by the tile product:
///
///   Projected        phi(x) = f(u)
///   T2R              phi(x) = relu(u)             (Finetuning Pretrained Transformers into RNNs,
///                                                 arXiv:2103.13076)
///   Hedgehog         phi(x) = max([softmax(u), softmax(-u)], floor)
///   JointHedgehog    phi(x) = softmax([2 u, -2 u]), one softmax over both halves
///                    (The Hedgehog & the Porcupine, arXiv:2402.04347; the second form is that of
///                    flash-linear-attention). With W of half as many rows as columns the
///                    number of features is that of channels.
///
/// W [H, F, D] or [1, F, D] for all heads, b [H, F] or [1, F] or empty. They are of the arithmetic:
/// float, double for fp64. Cost per token 2 F D operations.
///
///   const FeatureWeights<float> wq(weights_of_queries), wk(weights_of_keys);
///   LinearAttention{Sides{Hedgehog(wq), Hedgehog(wk)}, NoDecay{}, Additive{}, PlusEpsilon{}};
namespace weft {

/// Matrices W of feature maps, times a factor, in the order in which the product reads them. Maps
/// refer to them: keep them as long as the mixer. Throws where b does not fit.
template <class T = float>
class FeatureWeights {
 public:
  explicit FeatureWeights(View<const T, 3> w, View<const T, 2> bias = {}, double factor = 1)
      : transposed_({w.extent(0), w.extent(2), padded(w.extent(1))}),
        bias_({w.extent(0), padded(w.extent(1))}),
        features_(w.extent(1)) {
    require(
        bias.data() == nullptr || (bias.extent(0) == w.extent(0) && bias.extent(1) == features_),
        "FeatureWeights: bias is ", bias, ", the weights are ", w, "; wanted [H, F] of them");
    for (Index h = 0; h < w.extent(0); ++h)
      for (Index f = 0; f < features_; ++f) {
        double square = 0;
        for (Index d = 0; d < w.extent(2); ++d) {
          const double value = factor * static_cast<double>(w(h, f, d));
          transposed_(h, d, f) = static_cast<T>(value);
          square += value * value;
        }
        largest_square_ = std::max(largest_square_, square);
        if (bias.data() != nullptr) bias_(h, f) = bias(h, f);
      }
  }
  /// One matrix [F, D] for all heads.
  explicit FeatureWeights(View<const T, 2> w, double factor = 1)
      : FeatureWeights(unsqueeze(w), {}, factor) {}

  Index heads() const noexcept { return transposed_.extent(0); }
  Index dim() const noexcept { return transposed_.extent(1); }
  Index features() const noexcept { return features_; }

  /// The largest |w|^2 of a row w of any head, factor and all.
  double largest_square() const noexcept { return largest_square_; }

  /// Row r of x.to = W x_r + b, whole vectors.
  template <class A>
  void apply(const FeatureRows<T>& x) const noexcept {
    constexpr Index W = kWidth<T, A>;
    const Index head = heads() == 1 ? 0 : x.head, cols = round_up(features_, W);
    for (Index r = 0; r < x.rows; ++r)
      std::copy_n(bias_.view().pointer(head), cols, x.to + r * x.to_ld);
    detail::strips_product<A, detail::MultiplyAdd<T, A>>(
        x.rows, cols, x.dim, x.from, x.from_ld, transposed_.view().pointer(head),
        transposed_.extent(2), x.to, x.to_ld, true);
  }

  void check(const char* map, Index heads_of_call, Index dim_of_call) const {
    require(heads() == 1 || heads() == heads_of_call, map, ": weights of ", heads(), " heads for ",
            heads_of_call, "; give one matrix per head or one for all");
    require(dim() == dim_of_call, map, ": weights of ", dim(), " columns for a head size of ",
            dim_of_call);
  }

 private:
  /// Whole lines, and one more: at a stride of a power of two the rows of a strip of columns would
  /// fall on the same few sets of the L1 cache.
  static constexpr Index padded(Index features) noexcept {
    constexpr Index line = Index{kAlignment} / Index{sizeof(T)};
    return round_up(features, line) + line;
  }

  Tensor<T, 3> transposed_;  // [H, D, F]
  Tensor<T, 2> bias_;
  Index features_;
  double largest_square_ = 0;
};

/// phi(x) = f(W x + b), f a function of a register.
template <class F, class T = float>
struct Projected {
  const FeatureWeights<T>* weights;
  F f{};

  explicit Projected(const FeatureWeights<T>& w, F function = {}) noexcept
      : weights(&w), f(function) {}
  explicit Projected(FeatureWeights<T>&&, F = {}) = delete;  // would be gone

  Index size(Index) const noexcept { return weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    weights->template apply<A>(x);
    for (Index r = 0; r < x.rows; ++r)
      for (T *to = x.to + r * x.to_ld, *end = to + weights->features(); to < end;
           to += kWidth<T, A>)
        store<A>(to, f(load<A>(to)));
  }
  void check(Index, Index heads, Index dim) const { weights->check("Projected", heads, dim); }
};

/// phi(x) = relu(W x + b).
template <class T = float>
struct T2R : Projected<Relu, T> {
  explicit T2R(const FeatureWeights<T>& w) noexcept : Projected<Relu, T>(w) {}
  explicit T2R(FeatureWeights<T>&&) = delete;
};
static_assert(FeatureMap<T2R<>>);

namespace detail {

/// to = exp(sign y - shift) for n numbers; the result is their sum.
template <class A, class T>
T exponentials(const T* y, Index n, T sign, T shift, T* to) noexcept {
  constexpr Index W = kWidth<T, A>;
  Vec<T, A> sum(T(0));
  for (Index i = 0; i < n; i += W) {
    const Index lanes = std::min(W, n - i);
    const auto e =
        math::exp(mul_add(Vec<T, A>(sign), load_partial<A>(y + i, lanes), Vec<T, A>(-shift)));
    store_partial<A>(to + i, e, lanes);
    sum += xsimd::select(leading_lanes<A, T>(lanes), e, Vec<T, A>(T(0)));
  }
  return sum_lanes(sum);
}

/// x = max(factor x, least).
template <class A, class T>
void scale_to_at_least(T factor, T least, Index n, T* x) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index i = 0; i < n; i += W) {
    const Index lanes = std::min(W, n - i);
    const auto v = load_partial<A>(x + i, lanes) * Vec<T, A>(factor);
    store_partial<A>(x + i, xsimd::max(Vec<T, A>(least), v), lanes);
  }
}

template <class A, class T>
T largest_negated(const T* y, Index n) noexcept {
  using V = Vec<T, A>;
  return max_lanes(fold_row<A>(
      y, n, -std::numeric_limits<T>::infinity(), [](const V& v) { return V(-v); },
      [](const V& a, const V& b) { return xsimd::max(a, b); }));
}

}  // namespace detail

/// phi(x) = max([softmax(W x + b), softmax(-W x - b)], floor): positive, each half sums to one.
template <class T = float>
struct Hedgehog {
  const FeatureWeights<T>* weights;
  T floor = static_cast<T>(1e-12);

  explicit Hedgehog(const FeatureWeights<T>& w) noexcept : weights(&w) {}
  explicit Hedgehog(FeatureWeights<T>&&) = delete;

  Index size(Index) const noexcept { return 2 * weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index n = weights->features();
    weights->template apply<A>(x);
    for (Index r = 0; r < x.rows; ++r) {
      T* up = x.to + r * x.to_ld;
      const T highest = row_max<A>(up, n), lowest = detail::largest_negated<A>(up, n);
      const T falling = detail::exponentials<A>(up, n, T(-1), lowest, up + n);
      const T rising = detail::exponentials<A>(up, n, T(1), highest, up);
      detail::scale_to_at_least<A>(1 / rising, floor, n, up);
      detail::scale_to_at_least<A>(1 / falling, floor, n, up + n);
    }
  }
  void check(Index, Index heads, Index dim) const { weights->check("Hedgehog", heads, dim); }
};
static_assert(FeatureMap<Hedgehog<>>);

/// phi(x) = softmax([2 u, -2 u]), u = W x + b.
template <class T = float>
struct JointHedgehog {
  const FeatureWeights<T>* weights;

  explicit JointHedgehog(const FeatureWeights<T>& w) noexcept : weights(&w) {}
  explicit JointHedgehog(FeatureWeights<T>&&) = delete;

  Index size(Index) const noexcept { return 2 * weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index n = weights->features();
    weights->template apply<A>(x);
    for (Index r = 0; r < x.rows; ++r) {
      T* up = x.to + r * x.to_ld;
      const T largest = 2 * std::max(row_max<A>(up, n), detail::largest_negated<A>(up, n));
      const T falling = detail::exponentials<A>(up, n, T(-2), largest, up + n);
      const T rising = detail::exponentials<A>(up, n, T(2), largest, up);
      detail::times_row<A>(1 / (rising + falling), up, 2 * n, up);
    }
  }
  void check(Index, Index heads, Index dim) const { weights->check("JointHedgehog", heads, dim); }
};
static_assert(FeatureMap<JointHedgehog<>>);

}  // namespace weft
