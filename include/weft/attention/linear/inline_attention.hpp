#pragma once

#include <weft/attention/linear/mixer.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/operator.hpp>

namespace weft {

/// Injective linear attention (InLine; Bridging the Divide: Reconsidering Softmax and Linear
/// Attention, arXiv:2412.06590): weights that sum to one by a difference instead of a quotient,
///
///   l_ij = scale f(q_i) . f(k_j)
///   out_i = sum_j ((l_ij - mean_j l_ij) / N + 1 / N) v_j
///
/// f is the identity in the paper, or relu, leaky relu, exp(x / 5): a feature map that keeps D
/// channels. Weights may be negative. Adding one vector to all keys changes nothing if f is the
/// identity, and values that are all the same come out as they are.
///
/// q [B, H, N, D], k [B, H, M, D], v [B, H, M, E], out [B, H, N, E]; for windows and heads of
/// images see layer/heads.hpp, and InLineResidual for the local part. No causal form. Computed as
/// linear attention of D + 1 features [scale f(q), 1] and [f(k) - mean f(k), 1]; keys are read
/// twice. Time O(B H (N + M) D E). Throws where shapes disagree.
template <FeatureMap F = Identity>
struct InLine {
  F f{};
  double scale = 0;  ///< 0: 1 / sqrt(D)
};
template <class F>
InLine(F) -> InLine<F>;

/// max(x, slope x), for Elementwise.
struct LeakyRelu {
  double slope = 0.01;
  template <class V>
  V operator()(const V& x) const noexcept {
    using T = typename V::value_type;
    return xsimd::select(x > V(T(0)), x, x * V(static_cast<T>(slope)));
  }
};

/// exp(factor x), for Elementwise.
struct ScaledExp {
  double factor = 0.2;
  template <class V>
  V operator()(const V& x) const noexcept {
    return math::exp(x * V(static_cast<typename V::value_type>(factor)));
  }
};

namespace detail {

/// [scale f(q), 1] and [f(k) - mean, 1]; mean [B, H, D] of keys.
template <class F, class M>
struct CentredFeatures {
  F f;
  View<const M, 3> mean;
  double scale;

  Index size(Index dim) const noexcept { return detail::feature_count(f, dim) + 1; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    detail::map_features<A>(f, x, arena);
    const Index n = detail::feature_count(f, x.dim);
    for (Index r = 0; r < x.rows; ++r) {
      T* to = x.to + r * x.to_ld;
      if (x.keys)
        subtract<A>(mean.pointer(x.batch, x.head), n, to);
      else
        times_row<A>(static_cast<T>(scale), to, n, to);
      to[n] = 1;
    }
  }

 private:
  template <class A, class T>
  static void subtract(const T* row, Index n, T* to) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index d = 0; d < n; d += W) {
      const Index lanes = std::min(W, n - d);
      store_partial<A>(to + d, load_partial<A>(to + d, lanes) - load_partial<A>(row + d, lanes),
                       lanes);
    }
  }
};

/// mean [B, H, D]: of f(k) over all keys, in a pass of their own.
template <class A, class T, class F>
void mean_features(const F& f, const InputRows<T>& k, Index keys, Index dim, View<T, 3> mean,
                   const Context& ctx) {
  constexpr Index kRows = 48, W = kWidth<T, A>;
  const Index ld = round_up(std::max(dim, detail::feature_count(f, dim)), W),
              n = detail::feature_count(f, dim);
  ctx.parallel(mean.extent(0) * mean.extent(1), [&](Index task, Arena& arena) {
    const Index b = task / mean.extent(1), h = task % mean.extent(1);
    T* rows = arena.take<T>(kRows * ld);
    T* features = arena.take<T>(kRows * ld);
    T* sum = arena.take<T>(ld);
    std::fill_n(sum, ld, T(0));
    for (Index j = 0; j < keys; j += kRows) {
      const Index count = std::min(kRows, keys - j);
      k.read(b, h, j, count, dim, ld, rows, ld);
      detail::map_features<A>(
          f, FeatureRows<T>{rows, ld, features, ld, count, dim, b, h, j, j, true}, arena);
      for (Index r = 0; r < count; ++r)
        for (Index d = 0; d < n; d += W)
          store<A>(sum + d, load<A>(sum + d) + load<A>(features + r * ld + d));
    }
    times_row<A>(static_cast<T>(keys == 0 ? 0.0 : 1 / static_cast<double>(keys)), sum, n,
                 mean.pointer(b, h));
  });
}

}  // namespace detail

template <class A = DefaultArch, class F, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const InLine<F>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using T = Accumulator<detail::Element<const Q>>;
  const auto keys = view_of(k);
  const Index B = keys.extent(0), H = view_of(out).extent(1), M = keys.extent(2);
  const Index D = keys.extent(3);
  require(std::isfinite(mixer.scale), "InLine: scale must be finite, got ", mixer.scale);
  detail::check_feature(mixer.f, B, H, D);
  detail::require_channels(keys, "k");
  const Arena::Frame frame(ctx.arena());
  const Index features = detail::feature_count(mixer.f, D);
  const View<T, 3> mean(ctx.arena().template take<T>(B * H * features), {B, H, features});
  const double scale = mixer.scale != 0 ? mixer.scale : 1 / std::sqrt(static_cast<double>(D));
  const double weight = M == 0 ? 1 : 1 / static_cast<double>(M);
  const LinearAttention linear{detail::CentredFeatures<F, T>{mixer.f, mean, scale},
                               NoDecay{},
                               Additive{},
                               NoDenominator{},
                               weight,
                               Order::bidirectional};
  const Index group = detail::shared_heads("k", keys.extent(1), H);
  detail::mean_features<A, T>(
      mixer.f, detail::input_rows<T, A>(View<const detail::Element<const K>, 4>(keys), group), M, D,
      mean, ctx);
  forward<A>(linear, q, k, v, out, ctx);
}

/// The local part of InLine: each image is convolved by a 3 x 3 kernel of its own, predicted from
/// the mean of its tokens,
///
///   r = W2 gelu(W1 x_mean + b1) + b2     W1 [C, C / H], W2 [9 C, C / H]: heads by themselves
///   out += depthwise convolution of v by r, reshaped to [C, 3, 3]
///
/// x [B, N, C] are the tokens that the attention came from, a class token included; v and out are
/// maps [B, rows, columns, C] without it. Time O(B C (N + 10 C / H + 9 rows columns)).
template <class T = float>
struct InLineResidual {
  Index heads;
  View<const T, 2> w1;
  View<const T, 1> b1;
  View<const T, 2> w2;
  View<const T, 1> b2;

  template <class A = DefaultArch, ViewLike<3> X, ViewLike<4> V, ViewLike<4> O>
  void add(const X& x, const V& v, O&& out, const Context& ctx = Context()) const {
    const auto tokens = view_of(x);
    const Index B = tokens.extent(0), C = tokens.extent(2);
    check(C, tokens.extent(1));
    const Arena::Frame frame(ctx.arena());
    const View<T, 2> mean = take(ctx, B, C), hidden = take(ctx, B, C), kernel = take(ctx, B, 9 * C);
    for (Index b = 0; b < B; ++b) mean_token(tokens.select(0, b), ctx.arena(), mean.pointer(b));
    grouped<A>(mean, w1, b1, hidden, Activate<GeluErf>{}, ctx);
    grouped<A>(hidden, w2, b2, kernel, NoEpilogue{}, ctx);
    for (Index b = 0; b < B; ++b) {
      const View<const T, 3> taps(kernel.pointer(b), {C, 3, 3});
      DepthwiseConv<T, A>(taps).add(view_of(v).slice(0, b, 1), view_of(out).slice(0, b, 1), ctx);
    }
  }

 private:
  static View<T, 2> take(const Context& ctx, Index rows, Index cols) {
    return {ctx.arena().template take<T>(rows * cols), {rows, cols}};
  }

  /// Sums in fp64: there may be many tokens.
  template <class X>
  static void mean_token(const View<X, 2>& tokens, Arena& arena, T* mean) {
    const Arena::Frame frame(arena);
    const Index C = tokens.extent(1);
    double* sums = arena.take<double>(C);
    std::fill_n(sums, C, 0.0);
    for (Index i = 0; i < tokens.extent(0); ++i)
      for (Index c = 0; c < C; ++c) sums[c] += static_cast<double>(tokens(i, c));
    for (Index c = 0; c < C; ++c)
      mean[c] = static_cast<T>(sums[c] / static_cast<double>(tokens.extent(0)));
  }

  void check(Index channels, Index tokens) const {
    require(heads >= 1 && channels % heads == 0, "InLineResidual: ", heads, " heads share ",
            channels, " channels; the first must divide the second");
    require(tokens >= 1, "InLineResidual: there are no tokens to take a mean of");
    const Index d = channels / heads;
    require(w1.shape() == std::array{channels, d} && w2.shape() == std::array{9 * channels, d} &&
                b1.extent(0) == channels && b2.extent(0) == 9 * channels,
            "InLineResidual: w1 is ", w1, ", w2 ", w2, "; wanted [", channels, ", ", d, "] and [",
            9 * channels, ", ", d, "], and a bias for each row");
  }

  /// y = epilogue(W x + b) in blocks of `heads` groups of channels.
  template <class A, class E>
  void grouped(View<const T, 2> x, View<const T, 2> w, View<const T, 1> b, View<T, 2> y, E epilogue,
               const Context& ctx) const {
    const Index in = x.extent(1) / heads, to = y.extent(1) / heads;
    for (Index h = 0; h < heads; ++h)
      gemm<A>(x.slice(1, h * in, in), w.slice(0, h * to, to).transpose(0, 1),
              y.slice(1, h * to, to), Then{Bias{b.slice(0, h * to, to)}, epilogue}, ctx);
  }
};

}  // namespace weft
