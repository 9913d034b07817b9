#pragma once

#include <weft/attention/kernelized/combiner_spans.hpp>

#include <bit>

namespace weft {

/// Full attention factorised over spans (Combiner: Full Attention Transformer with Sparse
/// Computation Cost, arXiv:2107.05768).
///
/// A query attends to some tokens directly and to the others through spans r of tokens, in one
/// softmax; with s the scale, max by components,
///   direct logit  s q_i . k_j                 value v_j
///   span logit    s q_i . K_r                 value V_r = sum_{j in r} softmax_j(s Q_r . k_j) v_j
///   K_r = max_{j in r} k_j,  Q_r = max_{j in r} q_j
/// so that the weights of all tokens sum to one. Token i stands in row i / W and column i mod W:
///
///   CombinerFixed      direct: own row up to itself;  spans: every earlier row. Not causal: the
///                      whole own row, and all rows, its own too
///   CombinerLogSparse  direct: itself;  spans: for every bit l of i the tokens of that bit,
///                      [((i >> l) - 1) 2^l, (i >> l) 2^l): the binary parts of [0, i)
///   CombinerAxial      direct: own row up to itself;  spans: for every earlier row what the token
///                      of the same column saw by attention within its row, with the key `row_keys`
///                      of that token (k itself without data)
///   CombinerMixture    direct: own column above, own row up to itself;  spans: the tokens above in
///                      each other column; and with `row_spans` those of each earlier row left and
///                      right of its own column, which therefore count twice
///
/// q, k [B, H, N, D], v, out [B, H, N, E]; W divides N. All but CombinerFixed are causal. The
/// published code of the log-sparse form has a level too few where N - 1 is a power of two.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B H N (W + N / W) (D + E)), log-sparse O(B H N log N (D + E)); scratch memory 2 or more times
/// the values.
struct CombinerFixed {
  Index segment;  ///< W
  bool causal = true;
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

struct CombinerLogSparse {
  double scale = 0;
};

template <class T = float>
struct CombinerAxial {
  Index segment;
  View<const T, 4> row_keys = {};  ///< [B, H, N, D]
  double scale = 0;
};

struct CombinerMixture {
  Index segment;
  bool row_spans = true;
  double scale = 0;
};

template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const CombinerFixed& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using T = detail::Element<O>;
  using Mask = detail::SpanMask;
  const detail::SpanHeads<T, A> heads(view_of(q), view_of(k), view_of(v), view_of(out),
                                      {mixer.segment, mixer.scale, 2}, ctx);
  heads.for_each([&](const auto& spans, Index, Index) {
    spans.rows(mixer.causal ? Mask::up_to() : Mask::all(), spans.q(), spans.k(), spans.v(), 0);
    const auto summary = spans.segments();
    spans.tokens(mixer.causal ? Mask::earlier(mixer.segment) : Mask::all(), summary.keys,
                 summary.values, 1);
  });
}

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const CombinerAxial<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using Mask = detail::SpanMask;
  const View<const T, 4> own_keys = view_of(k);
  const detail::SpanHeads<T, A> heads(view_of(q), own_keys, view_of(v), view_of(out),
                                      {mixer.segment, mixer.scale, 2}, ctx);
  const View<const T, 4> keys = mixer.row_keys.data() == nullptr ? own_keys : mixer.row_keys;
  require(keys.shape() == own_keys.shape(), "CombinerAxial: row_keys are ", keys, ", k ", own_keys);
  heads.for_each([&](const auto& spans, Index b, Index h) {
    spans.rows(Mask::up_to(), spans.q(), spans.k(), spans.v(), 0);
    const View<T, 4> seen = spans.values();
    spans.rows(Mask::all(), spans.q(), spans.k(), spans.v(), seen);
    spans.columns(Mask::earlier(1), spans.q(), detail::one_head(keys, b, h), seen, 1);
  });
}

template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const CombinerMixture& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using T = detail::Element<O>;
  using Mask = detail::SpanMask;
  using detail::Along;
  const detail::SpanHeads<T, A> heads(view_of(q), view_of(k), view_of(v), view_of(out),
                                      {mixer.segment, mixer.scale, mixer.row_spans ? 5 : 3}, ctx);
  heads.for_each([&](const auto& spans, Index, Index) {
    const View<const T, 4> from = spans.q(), to = spans.k();
    const View<T, 4> seen = spans.values();
    spans.columns(Mask::earlier(1), from, to, spans.v(), 0);
    spans.rows(Mask::up_to(), from, to, spans.v(), 1);
    // Above in every column; the first row has nothing above it.
    spans.columns(Mask::earlier(1), spans.maxima(from, Along::down), to, spans.v(), seen);
    spans.rows(Mask::others().without(0), from, spans.maxima(to, Along::down), seen, 2);
    if (!mixer.row_spans) return;
    spans.rows(Mask::earlier(1), spans.maxima(from, Along::right), to, spans.v(), seen);
    spans.columns(Mask::earlier(1).without(0), from, spans.maxima(to, Along::right), seen, 3);
    spans.rows(Mask::later(), spans.maxima(from, Along::left), to, spans.v(), seen);
    spans.columns(Mask::earlier(1).without(mixer.segment - 1), from, spans.maxima(to, Along::left),
                  seen, 4);
  });
}

namespace detail {

/// What the tokens of one level of the log-sparse form are to later ones: spans of 2^l tokens.
template <class T>
struct CombinerLevel {
  View<const T, 4> queries, keys, values;  // [B, H, N >> l, .]
};

/// Spans of two spans each. A query for every few tokens is too little for the engine: row by row.
template <class T, class A>
CombinerLevel<T> next_level(const CombinerLevel<T>& below, const View<const T, 4>& k,
                            const View<const T, 4>& v, int level, T scale, const Context& ctx) {
  const Index B = k.extent(0), H = k.extent(1), count = below.keys.extent(2) / 2;
  const Index size = Index{1} << level, D = k.extent(3), E = v.extent(3);
  const auto queries = scratch<T, 4>(ctx.arena(), {B, H, count, D});
  const auto keys = scratch<T, 4>(ctx.arena(), {B, H, count, D});
  const auto values = scratch<T, 4>(ctx.arena(), {B, H, count, E});
  ctx.parallel(B * H * count, [&](Index task, Arena& arena) {
    const Index b = task / count / H, h = task / count % H, r = task % count;
    const auto join = [&](const View<const T, 4>& x, const View<T, 4>& to) {
      max_rows<A>(x.pointer(b, h, 2 * r), x.pointer(b, h, 2 * r + 1), to.pointer(b, h, r), D);
    };
    join(below.queries, queries);
    join(below.keys, keys);
    attend_rows<A>(
        queries.pointer(b, h, r), D, scale, size,
        [&](Index j) { return k.pointer(b, h, r * size + j); },
        [&](Index j) { return v.pointer(b, h, r * size + j); }, E,
        arena.take<T>(round_up(size, kWidth<T, A>)), values.pointer(b, h, r));
  });
  return {queries, keys, values};
}

/// One token: itself, and a span for every bit of its position.
template <class A, class T>
void combine_bits(const CombinerLevel<T>* levels, Index b, Index h, Index i, T scale, T* out) {
  constexpr Index kMost = 64;
  const T* keys[kMost];
  const T* values[kMost];
  T weights[kMost + kWidth<T, A>];
  Index count = 0;
  const auto take = [&](int level, Index span) {
    keys[count] = levels[level].keys.pointer(b, h, span);
    values[count++] = levels[level].values.pointer(b, h, span);
  };
  take(0, i);
  for (int l = 0; (i >> l) != 0; ++l)
    if ((i >> l) % 2 == 1) take(l, (i >> l) - 1);
  attend_rows<A>(
      levels[0].queries.pointer(b, h, i), levels[0].keys.extent(3), scale, count,
      [&](Index j) { return keys[j]; }, [&](Index j) { return values[j]; },
      levels[0].values.extent(3), weights, out);
}

}  // namespace detail

template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const CombinerLogSparse& mixer, const Q& query, const K& key, const V& value,
             O&& result, const Context& ctx = Context()) {
  using T = detail::Element<O>;
  const View<const T, 4> q = view_of(query), k = view_of(key), v = view_of(value);
  const View<T, 4> out = view_of(result);
  detail::check_spans<T>(q, k, v, out, 1);
  if (out.empty()) return;
  const Index H = q.extent(1), N = q.extent(2);
  const T scale = static_cast<T>(detail::scale_of(mixer, q.extent(3)));
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const int count = static_cast<int>(std::bit_width(static_cast<std::size_t>(N - 1)));
  std::array<detail::CombinerLevel<T>, 64> levels;
  levels[0] = {q, k, v};
  for (int l = 1; l < count; ++l)
    levels[static_cast<std::size_t>(l)] =
        detail::next_level<T, A>(levels[static_cast<std::size_t>(l - 1)], k, v, l, scale, ctx);
  constexpr Index kRows = 256;
  const Index blocks = ceil_div(N, kRows);
  ctx.parallel(q.extent(0) * H * blocks, [&](Index task, Arena&) {
    const Index b = task / blocks / H, h = task / blocks % H, first = task % blocks * kRows;
    for (Index i = first; i < std::min(N, first + kRows); ++i)
      detail::combine_bits<A, T>(levels.data(), b, h, i, scale, out.pointer(b, h, i));
  });
}

}  // namespace weft
