#pragma once

#include <weft/attention/kernelized/favor_feature.hpp>
#include <weft/attention/linear/stream.hpp>

namespace weft {

/// FAVOR+ of Performer (Rethinking Attention with Performers, arXiv:2009.14794): softmax attention
/// by positive random features, in time linear in the tokens,
///
///   out_i = sum_j (phi(q_i) . phi(k_j)) v_j / sum_j phi(q_i) . phi(k_j)       j <= i if causal
///
/// phi is FavorFeatures of m features (favor_feature.hpp); the error falls with m^(-1/2).
///
///   const auto w = orthogonal_projection(256, D, seed);
///   const auto weights = favor_weights<float>(w.view());
///   forward(Performer{weights}, q, k, v, out);
///
/// eps = 0 (default) has all verbs. eps > 0, added to every feature as in the published code (1e-4,
/// or 1e-6 from its factory), has forward alone: its stabiliser is the largest projection of all
/// keys, later ones included, which takes a pass over the keys; rows that underflow then tend to
/// the mean of the values. A denominator within `stabilizer` of zero moves away by twice that (1e-6
/// in the published code); without any weight the output is 0.
///
/// Shapes, types and errors are those of LinearAttention. Time 2 (N + M) D m for the features and
/// 4 N m E operations per head; state m E + m numbers.
template <class T = float>
struct Performer {
  const FeatureWeights<T>* weights;  ///< favor_weights; must live as long as the mixer
  Order order = Order::causal;
  double eps = 0;
  double stabilizer = double{std::numeric_limits<float>::min()};

  explicit Performer(const FeatureWeights<T>& w, Order o = Order::causal, double plus = 0) noexcept
      : weights(&w), order(o), eps(plus) {}
  explicit Performer(FeatureWeights<T>&&, Order = Order::causal, double = 0) = delete;
};

namespace detail {

/// So that exp(u - |y|^2 / 2 - s) <= exp(60): the exponent is at most |w|^2 / 2 for a row w of W,
/// of which the weights hold D^(-1/4) w.
template <class T>
T favor_shift(const FeatureWeights<T>& weights) noexcept {
  const double square = weights.largest_square() * std::sqrt(static_cast<double>(weights.dim()));
  return static_cast<T>(std::max(0.0, square / 2 - 60));
}

template <class T>
auto performer_engine(const Performer<T>& mixer, View<const T, 2> key_shift) {
  require(mixer.eps >= 0 && std::isfinite(mixer.eps), "Performer: eps is ", mixer.eps,
          ", must be 0 or more");
  const FavorFeatures<T> map{mixer.weights, static_cast<T>(mixer.eps), key_shift,
                             favor_shift(*mixer.weights)};
  return LinearAttention{map, NoDecay{},  Additive{}, AwayFromZero{mixer.stabilizer},
                         1.0, mixer.order};
}

/// An engine for tokens that come one by one.
template <class T>
auto performer_stream(const Performer<T>& mixer) {
  require(mixer.eps == 0, "Performer: eps is ", mixer.eps,
          "; prefill and step need 0, because its stabiliser looks at later keys");
  return performer_engine<T>(mixer, {});
}

/// The largest projection of all keys and features of a head.
template <class A, class T>
void key_maxima(const FeatureWeights<T>& weights, const LinearProblem<T>& p, View<T, 2> maxima,
                const Context& ctx) {
  constexpr Index kRows = 48, W = kWidth<T, A>;
  const Index row_ld = round_up(p.dim, W), ld = round_up(weights.features(), W);
  ctx.parallel(p.sequences * p.heads, [&](Index task, Arena& arena) {
    const Index b = task / p.heads, h = task % p.heads;
    T* rows = arena.take<T>(kRows * row_ld);
    T* features = arena.take<T>(kRows * ld);
    T largest = -std::numeric_limits<T>::infinity();
    for (Index j = 0; j < p.keys; j += kRows) {
      const Index n = std::min(kRows, p.keys - j);
      p.k.read(b, h, j, n, p.dim, row_ld, rows, row_ld);
      weights.template apply<A>({rows, row_ld, features, ld, n, p.dim, b, h, j, j, true});
      for (Index r = 0; r < n; ++r)
        largest = std::max(largest, row_max<A>(features + r * ld, weights.features()));
    }
    maxima(b, h) = largest;
  });
}

}  // namespace detail

/// The whole sequence at once.
template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const Performer<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  if (mixer.eps == 0) return forward<A>(detail::performer_engine<T>(mixer, {}), q, k, v, out, ctx);
  const auto problem = detail::linear_problem<T, A>(
      detail::performer_engine<T>(mixer, {}), View<const detail::Element<const Q>, 4>(view_of(q)),
      View<const detail::Element<const K>, 4>(view_of(k)),
      View<const detail::Element<const V>, 4>(view_of(v)), view_of(out));
  mixer.weights->check("Performer", problem.heads, problem.dim);
  const Arena::Frame frame(ctx.arena());
  const Index B = problem.sequences, H = problem.heads;
  const View<T, 2> maxima(ctx.arena().template take<T>(B * H), {B, H});
  detail::key_maxima<A>(*mixer.weights, problem, maxima, ctx);
  forward<A>(detail::performer_engine<T>(mixer, maxima), q, k, v, out, ctx);
}

template <class T>
LinearState<T> make_state(const Performer<T>& mixer, const StateSizes& sizes) {
  return make_state<T>(detail::performer_stream(mixer), sizes);
}

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void prefill(const Performer<T>& mixer, LinearState<T>& state, const Q& q, const K& k, const V& v,
             O&& out, const Context& ctx = Context()) {
  prefill<A>(detail::performer_stream(mixer), state, q, k, v, out, ctx);
}

template <class A = DefaultArch, class T, ViewLike<3> Q, ViewLike<3> K, ViewLike<3> V,
          ViewLike<3> O>
void step(const Performer<T>& mixer, LinearState<T>& state, const Q& q, const K& k, const V& v,
          O&& out, const Context& ctx = Context()) {
  step<A>(detail::performer_stream(mixer), state, q, k, v, out, ctx);
}

}  // namespace weft
