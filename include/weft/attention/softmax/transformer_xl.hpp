#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/gemm.hpp>

namespace weft {

/// Relative attention of Transformer-XL (Attentive Language Models beyond a Fixed-Length Context,
/// arXiv:1901.02860), causal, the N queries being the last of M tokens:
///
///   s_ij = ((q_i + u_h) . k_j + (q_i + v_h) . r_h(i + M - N - j)) / sqrt(D),   j <= i + M - N
///
/// r [H, L, D] holds the projected sinusoids from the farthest distance to none: row m is distance
/// L - 1 - m, L >= M (`transformer_xl_sinusoids` projected by W_r). u and v, the biases of content
/// and position, are [H, D]. Memory tokens need nothing of their own: k and v, [B, Hk, M, D] and
/// [B, Hk, M, E], may be those of a cache.
///
/// The second product is a matrix product per block of queries and goes into the score as a bias
/// that is read shifted by one per query; the shift by padding and reshaping of the published code
/// is not needed. Time O(B H N M (2 D + E)), scratch memory 64 H (M + 64) numbers and one copy of
/// q.
///
/// Throws where shapes disagree, N > M or L < M.
template <class T = float>
struct TransformerXl {
  View<const T, 3> r;              ///< [H, L, D]
  View<const T, 2> content_bias;   ///< u [H, D]
  View<const T, 2> position_bias;  ///< v [H, D]
  double scale = 0;                ///< of both products; 0 means 1 / sqrt(D)
};

/// Sinusoids of the distances length - 1 .. 0, [length, channels], channels even: row m holds
/// sin(p w_c) and then cos(p w_c), w_c = 10000^(-2 c / channels), p = length - 1 - m.
template <class T = float>
Tensor<T, 2> transformer_xl_sinusoids(Index length, Index channels) {
  require(length >= 0 && channels >= 2 && channels % 2 == 0, "transformer_xl_sinusoids: ", length,
          " distances of ", channels, " channels; channels must be even and positive");
  Tensor<T, 2> table({length, channels});
  const Index half = channels / 2;
  for (Index m = 0; m < length; ++m)
    for (Index c = 0; c < half; ++c) {
      const double share = 2 * static_cast<double>(c) / static_cast<double>(channels);
      const double angle = static_cast<double>(length - 1 - m) * std::pow(1e4, -share);
      table(m, c) = static_cast<T>(std::sin(angle));
      table(m, half + c) = static_cast<T>(std::cos(angle));
    }
  return table;
}

namespace detail {

/// Adds to the logits of query i what its product with the distances says: row i of `products`
/// [H, n, L'] holds the n queries of one block against the last L' rows of r, so that key j stands
/// at column j + n - 1 - i.
template <class T>
struct ShiftedBias {
  View<const T, 3> products;

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s + load_keys<V>(products.pointer(r.head, r.query, r.queries - 1 - r.query), 1, r, j0);
  }
};
static_assert(Score<ShiftedBias<float>>);

/// The queries of one call, block by block. The keys after a block are cut off, so that its last
/// query stands at its last key.
template <class A, class T, class Q>
class XlBlocks {
 public:
  XlBlocks(const TransformerXl<T>& mixer, const View<Q, 4>& q, double scale, const Context& ctx)
      : mixer_(mixer), q_(q), scale_(static_cast<T>(scale)), ctx_(ctx) {
    const Index heads = q.extent(1), rows = std::min(kRows, q.extent(2));
    shifted_ = View<T, 3>(ctx.arena().template take<T>(heads * rows * q.extent(3)),
                          {heads, rows, q.extent(3)});
    products_ = ctx.arena().template take<T>(heads * rows * (mixer.r.extent(1) + rows));
  }

  /// One block of batch element b against the first `keys` keys.
  template <class K, class V, class O>
  void run(Index b, Index first, Index n, const View<K, 4>& k, const View<V, 4>& v,
           const View<O, 4>& out) const {
    const Index heads = q_.extent(1), keys = k.extent(2);
    const View<T, 3> products(products_, {heads, n, keys + n - 1});
    add_bias(b, first, n, mixer_.position_bias, scale_);
    for (Index h = 0; h < heads; ++h) multiply(h, n, keys, products.select(0, h));
    add_bias(b, first, n, mixer_.content_bias, T(1));
    const Softmax mixer{Window{-1, 0}, ShiftedBias<T>{products}, PlainSoftmax{},
                        static_cast<double>(scale_)};
    forward<A>(mixer, unsqueeze(shifted_.slice(1, 0, n)), k, v, out, ctx_);
  }

  static constexpr Index kRows = 64;  // products of 8 heads and M = 2048 take 4 MiB

 private:
  /// shifted = (q + bias) factor, for the queries of a block.
  void add_bias(Index b, Index first, Index n, const View<const T, 2>& bias, T factor) const {
    for (Index h = 0; h < q_.extent(1); ++h)
      for (Index i = 0; i < n; ++i) {
        const Q* from = q_.pointer(b, h, first + i);
        const T* add = bias.pointer(h);
        T* to = shifted_.pointer(h, i);
        for (Index d = 0; d < q_.extent(3); ++d)
          to[d] = (static_cast<T>(from[d]) + add[d]) * factor;
      }
  }

  /// The products with the distances keys - 1 .. 0 of the last query; columns beyond them belong to
  /// keys that come after a query and are never read but by lanes that the mask hides.
  void multiply(Index h, Index n, Index keys, const View<T, 2>& to) const {
    const auto r = mixer_.r.select(0, h).slice(0, mixer_.r.extent(1) - keys, keys);
    gemm<A>(shifted_.select(0, h).slice(0, 0, n), r.transpose(0, 1), to.slice(1, 0, keys), ctx_);
    for (Index i = 0; i < n; ++i) std::fill_n(to.pointer(i, keys), n - 1, T(0));
  }

  const TransformerXl<T>& mixer_;
  View<Q, 4> q_;
  T scale_;
  const Context& ctx_;
  View<T, 3> shifted_;
  T* products_;
};

}  // namespace detail

/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], out [B, Hq, N, E]; T is the type of the sums.
template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const TransformerXl<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const View<const detail::Element<const Q>, 4> queries = view_of(q);
  const auto keys = view_of(k);
  const auto values = view_of(v);
  const auto to = view_of(out);
  static_assert(std::is_same_v<T, Accumulator<detail::Element<const Q>>>,
                "TransformerXl: T is float, or double where q is double");
  const Index batch = queries.extent(0), heads = queries.extent(1), N = queries.extent(2);
  const Index M = keys.extent(2), D = queries.extent(3);
  require(batch == keys.extent(0) && batch == values.extent(0) && batch == to.extent(0),
          "TransformerXl: q ", queries, ", k ", keys, ", v ", values, " and out ", to,
          " must have one batch size");
  require(N <= M && values.extent(2) == M && to.extent(2) == N, "TransformerXl: ", N,
          " queries are the last of ", M, " keys; v has ", values.extent(2), ", out ",
          to.extent(2));
  require(mixer.r.extent(0) == heads && mixer.r.extent(2) == D && mixer.r.extent(1) >= M,
          "TransformerXl: r is ", mixer.r, ", wanted [", heads, ", ", M, " or more, ", D, "]");
  detail::require_channels(queries, "TransformerXl: q");
  for (const auto& bias : {mixer.content_bias, mixer.position_bias}) {
    require(bias.extent(0) == heads && bias.extent(1) == D, "TransformerXl: a bias is ", bias,
            ", wanted [", heads, ", ", D, "]");
    detail::require_channels(bias, "TransformerXl: a bias");
  }
  if (queries.empty()) return;
  const double scale = detail::scale_of(mixer, D);
  const Arena::Frame frame(ctx.arena());
  const detail::XlBlocks<A, T, const detail::Element<const Q>> blocks(mixer, queries, scale, ctx);
  for (Index b = 0; b < batch; ++b)
    for (Index first = 0; first < N; first += blocks.kRows) {
      const Index n = std::min(blocks.kRows, N - first), seen = M - N + first + n;
      const auto part = [&](const auto& x) { return x.slice(0, b, 1).slice(2, 0, seen); };
      blocks.run(b, first, n, part(keys), part(values), to.slice(0, b, 1).slice(2, first, n));
    }
}

}  // namespace weft
