#pragma once

#include <weft/attention/linear/projected_feature.hpp>

/// Random features of the softmax kernel: phi(q) . phi(k) is exp(q . k / sqrt(D)) on average over a
/// random projection W [m, D] (random_features.hpp). With y = D^(-1/4) x and u = W y
///
///   FavorFeatures          m features      m^(-1/2) (exp(u - |y|^2 / 2 - s) + eps)
///   HyperbolicFeatures     2 m features    [exp(u - |y|^2 / 2 - s), exp(-u - |y|^2 / 2 - s)]
///                                          / sqrt(2 m)
///   TrigonometricFeatures  2 m features    m^(-1/2) [cos u, sin u], times exp(|y|^2 / 2 - s)
///
/// (Rethinking Attention with Performers, arXiv:2009.14794; Random Features for Large-Scale Kernel
/// Machines, NIPS 2007). The first two are positive. s is a stabiliser, a number that all features
/// of a query, or of all keys, share: a quotient of linear attention does not depend on it.
///
/// The other kernels of the paper, f(W x) + c and f(x) + c, are Projected and Elementwise with
/// PlusConstant<F>. W comes in FeatureWeights, of D^(-1/4) W for the maps here: `favor_weights`.
namespace weft {

/// D^(-1/4) W, W [m, D] for all heads or [H, m, D].
template <class T>
FeatureWeights<T> favor_weights(View<const T, 3> w) {
  return FeatureWeights<T>(w, {}, std::pow(static_cast<double>(w.extent(2)), -0.25));
}
template <class T>
FeatureWeights<T> favor_weights(View<const T, 2> w) {
  return favor_weights<T>(unsqueeze(w));
}

/// f(x) + constant, f a function of a register; 1e-3 in the generalised kernels of Performer.
template <class F = Relu>
struct PlusConstant {
  F f{};
  double constant = 1e-3;

  template <class V>
  V operator()(const V& x) const noexcept {
    return f(x) + V(static_cast<typename V::value_type>(constant));
  }
};

namespace detail {

/// |y|^2 / 2 of a row of channels.
template <class A, class T>
T half_square(const T* x, Index dim) noexcept {
  return row_sum_of_squares<A>(x, dim) / (2 * std::sqrt(static_cast<T>(dim)));
}

template <class T>
T shift_of(const View<const T, 2>& shifts, Index b, Index h) noexcept {
  return shifts.data() == nullptr ? T(0) : shifts(b, h);
}

template <class T>
void check_shifts(const char* map, const View<const T, 2>& shifts, Index batch, Index heads) {
  require(shifts.data() == nullptr || shifts.shape() == std::array{batch, heads}, map,
          ": stabilisers are ", shifts, ", must be [", batch, ", ", heads, "]");
}

}  // namespace detail

/// Positive features. With eps > 0 as published: s of a query is the largest of its u, s of keys
/// the largest u of all keys and features, key_shift [B, H]. With eps = 0 any s gives the same
/// attention: queries leave |y|^2 / 2 out, too, and keys take one s for ever, so that tokens can
/// come one by one; it is 0 unless u could exceed 60.
template <class T = float>
struct FavorFeatures {
  const FeatureWeights<T>* weights;
  T eps = 0;
  View<const T, 2> key_shift = {};
  T constant_shift = 0;

  Index size(Index) const noexcept { return weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index m = weights->features();
    const T root = 1 / std::sqrt(static_cast<T>(m));
    weights->template apply<A>(x);
    const T of_keys = key_shift.data() == nullptr ? constant_shift : key_shift(x.batch, x.head);
    for (Index r = 0; r < x.rows; ++r) {
      T* to = x.to + r * x.to_ld;
      T shift = x.keys ? of_keys : row_max<A>(to, m);
      if (x.keys || eps != T(0)) shift += detail::half_square<A>(x.from + r * x.from_ld, x.dim);
      const Vec<T, A> s(shift), plus(eps * root), factor(root);
      for (Index f = 0; f < m; f += kWidth<T, A>)
        store<A>(to + f, mul_add(math::exp(load<A>(to + f) - s), factor, plus));
    }
  }
  void check(Index batch, Index heads, Index dim) const {
    weights->check("FavorFeatures", heads, dim);
    detail::check_shifts("FavorFeatures", key_shift, batch, heads);
  }
};
static_assert(FeatureMap<FavorFeatures<>>);

/// Features in pairs of opposite signs. shift [B, H] or none.
template <class T = float>
struct HyperbolicFeatures {
  const FeatureWeights<T>* weights;
  View<const T, 2> shift = {};

  Index size(Index) const noexcept { return 2 * weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index m = weights->features();
    const T own = detail::shift_of(shift, x.batch, x.head) + std::log(static_cast<T>(2 * m)) / 2;
    weights->template apply<A>(x);
    for (Index r = 0; r < x.rows; ++r) {
      T* to = x.to + r * x.to_ld;
      const T s = own + detail::half_square<A>(x.from + r * x.from_ld, x.dim);
      (void)detail::exponentials<A>(to, m, T(-1), s, to + m);
      (void)detail::exponentials<A>(to, m, T(1), s, to);
    }
  }
  void check(Index batch, Index heads, Index dim) const {
    weights->check("HyperbolicFeatures", heads, dim);
    detail::check_shifts("HyperbolicFeatures", shift, batch, heads);
  }
};
static_assert(FeatureMap<HyperbolicFeatures<>>);

/// Fourier features. of_softmax = false leaves the exponential out: the kernel is then that of
/// Gauss, exp(-|y_q - y_k|^2 / 2). shift [B, H] or none: |y|^2 / 2 - s should not exceed 80.
template <class T = float>
struct TrigonometricFeatures {
  const FeatureWeights<T>* weights;
  bool of_softmax = true;
  View<const T, 2> shift = {};

  Index size(Index) const noexcept { return 2 * weights->features(); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index m = weights->features();
    const T root = 1 / std::sqrt(static_cast<T>(m));
    weights->template apply<A>(x);
    for (Index r = 0; r < x.rows; ++r) {
      T* to = x.to + r * x.to_ld;
      T factor = root;
      if (of_softmax)
        factor *= std::exp(detail::half_square<A>(x.from + r * x.from_ld, x.dim) -
                           detail::shift_of(shift, x.batch, x.head));
      for (Index f = 0; f < m; f += kWidth<T, A>) {
        const Index lanes = std::min(kWidth<T, A>, m - f);
        const auto [sine, cosine] = xsimd::sincos(load_partial<A>(to + f, lanes));
        store_partial<A>(to + m + f, sine * Vec<T, A>(factor), lanes);
        store_partial<A>(to + f, cosine * Vec<T, A>(factor), lanes);
      }
    }
  }
  void check(Index batch, Index heads, Index dim) const {
    weights->check("TrigonometricFeatures", heads, dim);
    detail::check_shifts("TrigonometricFeatures", shift, batch, heads);
  }
};
static_assert(FeatureMap<TrigonometricFeatures<>>);

}  // namespace weft
