#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/kernelized/head_conv.hpp>
#include <weft/attention/kernelized/pseudo_inverse.hpp>
#include <weft/attention/kernelized/row_ops.hpp>

namespace weft {

/// What the first estimate of the inverse, K2^T / scale, is divided by.
enum class NystromStart {
  matrix,         ///< largest sum of a row times that of a column, of each head by itself
  batch,          ///< the same, each the largest of all heads of the batch, as published
  batch_columns,  ///< only that of a column, of all heads of the batch: the first publication
};

/// Attention by landmarks (Nystromformer: A Nystrom-based Algorithm for Approximating
/// Self-Attention, arXiv:2102.03902).
///
///   ql, kl = means of N / m consecutive tokens of q and k                   [m, D]
///   K1 = softmax(s q kl^T)   K2 = softmax(s ql kl^T)   K3 = softmax(s ql k^T)
///   out = K1 Z (K3 v) (+ conv(v))                      Z ~ K2^-1 by `iterations` products
///
/// q, k [B, H, N, D], v, out [B, H, N, E]; m divides N; m = N is plain softmax attention. Tokens
/// that `tokens` [B, N] marks with 0 count as zeros in q, k, v and in the means, and K3 does not
/// see them; where no token exists K3 gives 0. `conv` [H, size, 1] is a kernel over the sequence
/// for each head, size odd; without data there is none. Bidirectional only.
///
/// Z <- Z (13 - Y (15 - Y (7 - Y))) / 4 with Y = K2 Z. Six iterations are not the limit, so the
/// start can be seen in the result; that of the published code depends on the other sequences of
/// the batch, which is why it is not the default.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B H (N m (D + E) + iterations m^3)), scratch memory O(B H m (m + D + E)).
template <class T = float>
struct Nystromformer {
  Index landmarks;
  View<const std::uint8_t, 2> tokens = {};
  View<const T, 3> conv = {};
  int iterations = 6;
  NystromStart start = NystromStart::matrix;
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

namespace detail {

/// Means of N / m consecutive rows of every head.
template <class A, class T>
View<T, 4> segment_means(const View<const T, 4>& x, Index m, Arena& arena) {
  const View<T, 4> means = scratch<T, 4>(arena, {x.extent(0), x.extent(1), m, x.extent(3)});
  std::fill_n(means.data(), means.size(), T(0));
  const Index count = x.extent(2) / m;
  const T share = T(1) / static_cast<T>(count);
  for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
    for (Index n = 0; n < x.extent(2); ++n)
      add_scaled<A>(share, x.pointer(b, h, n), means.pointer(b, h, n / count), x.extent(3));
  });
  return means;
}

/// 1 / (what K2^T is divided by) of one head.
inline double nystrom_factor(NystromStart start, const LargestSums& own, const LargestSums& all) {
  switch (start) {
    case NystromStart::matrix: return 1 / (own.row * own.column);
    case NystromStart::batch: return 1 / (all.row * all.column);
    default: return 1 / all.column;
  }
}

/// summary [B, H, m, E] <- Z summary, head by head.
template <class A, class T>
void apply_nystrom_inverse(const Nystromformer<T>& mixer, const View<const T, 4>& k2,
                           const View<T, 4>& summary, const Context& ctx) {
  const Index B = k2.extent(0), H = k2.extent(1), m = k2.extent(2);
  LargestSums all;
  for_each_head(B, H, [&](Index b, Index h) { all.take(LargestSums::of(head_of(k2, b, h))); });
  for_each_head(B, H, [&](Index b, Index h) {
    const Arena::Frame frame(ctx.arena());
    const View<const T, 2> a = head_of(k2, b, h);
    const double factor = nystrom_factor(mixer.start, LargestSums::of(a), all);
    const View<T, 2> z = scratch<T, 2>(ctx.arena(), {m, m});
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < m; ++j) z(i, j) = static_cast<T>(factor) * a(j, i);
    const View<T, 2> inverse = fourth_order_inverse<A, T>(a, z, mixer.iterations, ctx);
    const View<T, 2> from = head_of(summary, b, h);
    const View<T, 2> copy = scratch<T, 2>(ctx.arena(), from.shape());
    std::copy_n(from.data(), from.size(), copy.data());
    gemm<A>(inverse, copy, from, ctx);
  });
}

template <class T>
void check_nystromformer(const Nystromformer<T>& mixer, const View<const T, 4>& q,
                         const View<const T, 4>& k, const View<const T, 4>& v) {
  require(k.shape() == q.shape(), "Nystromformer: k is ", k, ", q ", q, "; give them one shape");
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(q, "q", v, "v", axis, "leading axes");
  require(mixer.landmarks >= 1 && q.extent(2) % mixer.landmarks == 0,
          "Nystromformer: ", mixer.landmarks, " landmarks for ", q.extent(2),
          " tokens; the first must divide the second");
  require(mixer.iterations >= 0, "Nystromformer: ", mixer.iterations, " iterations");
  check_token_mask(mixer.tokens, q.extent(0), q.extent(2));
}

/// forward(Softmax, q, k, v, out) where keys may be masked.
template <class A, class T, class O>
void attend_existing(const TokenMask& tokens, double scale, const View<const T, 4>& q,
                     const View<const T, 4>& k, const View<const T, 4>& v, const O& out,
                     const Context& ctx) {
  Softmax plain;
  plain.scale = scale;
  if (tokens.data() == nullptr) return forward<A>(plain, q, k, v, out, ctx);
  forward<A>(Softmax{key_mask(tokens), NoScore{}, PlainSoftmax{}, scale}, q, k, v, out, ctx);
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const Nystromformer<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using X = View<const T, 4>;
  const View<T, 4> to = view_of(out);
  const auto all = detail::checked_kv<T, T>(view_of(k), view_of(v));
  detail::require_channels(X(view_of(q)), "q");
  detail::check_nystromformer<T>(mixer, view_of(q), all.k, all.v);
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const Index B = all.k.extent(0), H = all.k.extent(1), N = all.k.extent(2), m = mixer.landmarks;
  const X queries = detail::without_masked<T>(view_of(q), mixer.tokens, arena);
  const X keys = detail::without_masked<T>(all.k, mixer.tokens, arena);
  const X values = detail::without_masked<T>(all.v, mixer.tokens, arena);
  if (m == N) {
    detail::attend_existing<A, T>(mixer.tokens, mixer.scale, queries, keys, values, to, ctx);
  } else {
    const X ql = detail::segment_means<A>(queries, m, arena);
    const X kl = detail::segment_means<A>(keys, m, arena);
    const auto k2 = detail::scratch<T, 4>(arena, {B, H, m, m});
    const auto summary = detail::scratch<T, 4>(arena, {B, H, m, values.extent(3)});
    Softmax plain;
    plain.scale = mixer.scale;
    forward<A>(plain, ql, kl, detail::identity_values<T>(B, H, m, arena), k2, ctx);
    detail::attend_existing<A, T>(mixer.tokens, mixer.scale, ql, keys, values, summary, ctx);
    detail::apply_nystrom_inverse<A, T>(mixer, k2, summary, ctx);
    forward<A>(plain, queries, kl, summary, to, ctx);
  }
  if (mixer.conv.data() != nullptr)
    add_head_conv<A>(HeadConv<T>{mixer.conv, N, 1}, values, to, ctx);
}

}  // namespace weft
