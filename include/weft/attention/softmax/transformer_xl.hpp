#pragma once

#include <weft/attention/softmax/dot_keys.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/pack.hpp>

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
/// The second product is made tile by tile with the first, from r packed once, and is added to it
/// shifted by one per query; the shift by padding and reshaping of the published code is not
/// needed. Time O(B H N M (2 D + E)), scratch memory H M D numbers for r.
///
/// Throws where shapes disagree, N > M or L < M, and unless channels are contiguous.
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

/// Adds to the logits what the products with the distances say. Rows of products are `ld` apart;
/// the row of `query` has key 0 at `key_0`, and every later query one column before that.
template <class T>
struct ShiftedBias {
  const T* key_0;
  Index query, ld;

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s + load_keys<V>(key_0 + (r.query - query) * (ld - 1), 1, r, j0);
  }
};
static_assert(Score<ShiftedBias<float>>);

/// The products of some queries of one head, (q + v) / sqrt(D) times r^T.
///
/// Columns are rows of r from that of the farthest distance that occurs on; query 0 has key 0 at
/// column `shift`, and every later query one column before that.
template <class A, class T>
class XlProducts {
 public:
  XlProducts(const T* queries, Index count, Index dim, Index shift) noexcept
      : queries_(queries), count_(count), dim_(dim), shift_(shift) {}

  /// Takes r, packed by columns. The products are made tile by tile, in the L1 cache. There are
  /// none for keys after a query: what stands in their place is finite, and the mask hides it.
  void use_panels(const T* panels, Index columns, Arena& arena) {
    panels_ = panels;
    columns_ = round_up(columns, kPanel);
    products_ = arena.take<T>(kMostRows * kLd);
    std::fill_n(products_, kMostRows * kLd, T(0));
  }

  /// Takes r as rows and makes all products.
  void use_rows(const RowsOf<T>& r, Index columns, Arena& arena) {
    const Index ld = round_up(columns, W);
    products_ = arena.take<T>(count_ * ld);
    for (Index i = 0; i < count_; ++i)
      for (Index c = 0; c < columns; c += W)
        store<A>(products_ + i * ld + c,
                 dot_keys<T, A>(queries_ + i * query_ld(), dim_, r, c, columns - c));
    all_ = {products_ + shift_, 0, ld};
  }

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return all_(s, r, j0);
  }

  /// Multiplies queries [first, first + rows) with all distances to keys [begin, end).
  ShiftedBias<T> of_tile(const Row& first, Index rows, Index begin, Index end) const noexcept {
    const Index key_0 = shift_ - first.query;
    const Index from = std::max<Index>(0, key_0 + begin - (rows - 1)) / W * W;
    const Index to = std::min(columns_, round_up(key_0 + end, W));
    for (Index c = from, next; c < to; c = next) {
      next = std::min(to, c / kPanel * kPanel + kPanel);
      strips_product<A, MultiplyAdd<T, A>>(rows, next - c, dim_,
                                           queries_ + first.query * query_ld(), query_ld(),
                                           panels_ + c / kPanel * kPanel * dim_ + c % kPanel,
                                           kPanel, products_ + c - from, kLd, false);
    }
    return {products_ + key_0 - from, first.query, kLd};
  }

 private:
  static constexpr Index W = kWidth<T, A>, kPanel = kTileCols<T, A>;
  static constexpr Index kMostRows = Tiles<T, A>::kRows;
  static constexpr Index kLd = round_up(kKeyTile + kMostRows + 2 * W, W);

  Index query_ld() const noexcept { return round_up(dim_, W); }

  const T* queries_;
  Index count_, dim_, shift_;
  const T* panels_ = nullptr;
  Index columns_ = 0;
  T* products_ = nullptr;
  ShiftedBias<T> all_{};
};
static_assert(Score<XlProducts<DefaultArch, float>>);
static_assert(TileScore<XlProducts<DefaultArch, float>>);

/// The tasks of one call: blocks of queries of one head.
template <class A, class T, class Q>
class XlBlocks {
 public:
  XlBlocks(const TransformerXl<T>& mixer, const View<const Q, 4>& q, Index keys, double scale,
           const Context& ctx)
      : mixer_(mixer), q_(q), keys_(keys), scale_(scale) {
    if (q.extent(2) <= kDirectRows) return;
    const Index heads = q.extent(1);
    T* panels = ctx.arena().template take<T>(heads * panels_size());
    ctx.parallel(heads, [&](Index h, Arena&) {
      pack_cols<A>(distances(h), mixer_.r.stride(2), mixer_.r.stride(1), q_.extent(3), keys_,
                   panels + h * panels_size());
    });
    panels_ = panels;
  }

  static constexpr Index kRows = kTilesPerTask * Tiles<T, A>::kRows;

  /// Queries [first, first + n) of head h against all keys up to the last of these queries.
  template <class K, class V, class O>
  void run(Index b, Index h, Index first, Index n, const View<const K, 4>& k,
           const View<const V, 4>& v, const View<O, 4>& out, Arena& arena) const {
    const Index seen = keys_ - q_.extent(2) + first + n, dim = q_.extent(3);
    const Index ld = round_up(dim, kWidth<T, A>);
    T* content = arena.template take<T>(n * ld);
    T* position = arena.template take<T>(n * ld);
    add_bias(b, h, first, n, mixer_.content_bias, T(1), content);
    add_bias(b, h, first, n, mixer_.position_bias, static_cast<T>(scale_), position);
    XlProducts<A, T> products(position, n, dim, keys_ - seen + n - 1);
    if (n > kDirectRows)
      products.use_panels(panels_ + h * panels_size(), keys_, arena);
    else
      products.use_rows({distances(h), mixer_.r.stride(1)}, keys_, arena);
    const auto head = [&](const auto& x, Index of, Index from, Index count) {
      return x.slice(0, b, 1).slice(1, of, 1).slice(2, from, count);
    };
    const Index kv_head = h / (q_.extent(1) / k.extent(1));
    attend_within_task<A>(Softmax{Window{-1, 0}, products, PlainSoftmax{}, scale_},
                          View<const T, 4>(content, {1, 1, n, dim}, {0, 0, ld, 1}),
                          head(k, kv_head, 0, seen), head(v, kv_head, 0, seen),
                          head(out, h, first, n), arena);
  }

 private:
  Index panels_size() const noexcept { return round_up(keys_, kTileCols<T, A>) * q_.extent(3); }

  /// The row of r of the farthest distance that occurs.
  const T* distances(Index h) const noexcept {
    return mixer_.r.pointer(h, mixer_.r.extent(1) - keys_);
  }

  /// to = (q + bias) factor, rows padded with zeros.
  void add_bias(Index b, Index h, Index first, Index n, const View<const T, 2>& bias, T factor,
                T* to) const noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index i = 0; i < n; ++i)
      for (Index d = 0; d < q_.extent(3); d += W, to += W) {
        const Index lanes = std::min(W, q_.extent(3) - d);
        const auto sum = load_as_partial<T, A>(q_.pointer(b, h, first + i, d), lanes) +
                         load_partial<A>(bias.pointer(h, d), lanes);
        store<A>(to, sum * Vec<T, A>(factor));
      }
  }

  const TransformerXl<T>& mixer_;
  View<const Q, 4> q_;
  Index keys_;
  double scale_;
  const T* panels_ = nullptr;  ///< of r, head after head; none for few queries
};

}  // namespace detail

/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], out [B, Hq, N, E]; T is the type of the sums.
template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const TransformerXl<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const View<const detail::Element<const Q>, 4> queries = view_of(q);
  const View<const detail::Element<const K>, 4> keys = view_of(k);
  const View<const detail::Element<const V>, 4> values = view_of(v);
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
  detail::require_channels(mixer.r, "TransformerXl: r");
  for (const auto& bias : {mixer.content_bias, mixer.position_bias}) {
    require(bias.extent(0) == heads && bias.extent(1) == D, "TransformerXl: a bias is ", bias,
            ", wanted [", heads, ", ", D, "]");
    detail::require_channels(bias, "TransformerXl: a bias");
  }
  if (queries.empty()) return;
  const Arena::Frame frame(ctx.arena());
  const detail::XlBlocks<A, T, detail::Element<const Q>> blocks(mixer, queries, M,
                                                                detail::scale_of(mixer, D), ctx);
  const Index per_head = ceil_div(N, blocks.kRows);
  ctx.parallel(batch * heads * per_head, [&](Index task, Arena& arena) {
    const Index head = task / per_head;  // late blocks first: they see the most keys
    const Index first = (per_head - 1 - task % per_head) * blocks.kRows;
    blocks.run(head / heads, head % heads, first, std::min(blocks.kRows, N - first), keys, values,
               to, arena);
  });
}

}  // namespace weft
