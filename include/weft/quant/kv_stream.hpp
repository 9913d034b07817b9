#pragma once

#include <weft/attention/softmax/stream.hpp>
#include <weft/quant/coded_kv.hpp>

/// The verbs of softmax attention over caches of codes.
///
///   Softmax causal{Causal{Align::bottom_right}};
///   auto state = make_state(causal, quant::kInt8Kv, sizes);        or Kivi{...}, Saq{...}
///   prefill(causal, state, q, k, v, out);                          n tokens [B, H, n, D]
///   step(causal, state, q, k, v, out);                             one token [B, H, D]
///
/// Attention of few queries (decode) multiplies the codes themselves, see kv_products.hpp; that of
/// many decodes a tile of keys and values at a time. Any mask, score and normalizer that streams.
/// Queries, keys, values and outputs are stored in fp32, bf16 or fp16; arithmetic is fp32.
///
/// A refused call throws and leaves the cache as it was.
namespace weft::quant {

/// A cache of codes. `options` tells it apart, see make_state.
///   check(k, v)          throws unless the new tokens fit, [B, Hk, n, D] and [B, Hk, n, E]
///   append(k, v, ctx)    takes them
///   source()             what it holds, as a source of the engine
///   sees_codes           whether new tokens are seen as codes by the queries that come with them
template <class C>
concept CodedCache = requires(C& c, const View<const float, 4>& rows, const Context& ctx) {
  c.check(rows, rows);
  c.append(rows, rows, ctx);
  { c.source() } -> std::same_as<CodedKv>;
  { C::sees_codes } -> std::convertible_to<bool>;
};

namespace detail {

/// Rows of floats: the view itself, or a converted copy in the arena.
template <class A, class X>
View<const float, 4> float_rows(const View<const X, 4>& x, Arena& arena) {
  if constexpr (std::is_same_v<X, float>) {
    return x;
  } else {
    View<float, 4> to(arena.take<float>(x.size()), x.shape());
    for (Index b = 0; b < x.extent(0); ++b)
      for (Index h = 0; h < x.extent(1); ++h)
        for (Index i = 0; i < x.extent(2); ++i)
          weft::detail::convert_row<float, A>(x.pointer(b, h, i), to.pointer(b, h, i), x.extent(3),
                                              x.extent(3));
    return to;
  }
}

/// The sizes with value_dim filled in.
inline CacheSizes checked_sizes(CacheSizes sizes) {
  require(sizes.batch >= 1 && sizes.kv_heads >= 1 && sizes.capacity >= 0 && sizes.key_dim >= 1 &&
              sizes.value_dim >= 0,
          "CacheSizes: batch, kv_heads and head sizes must be positive, capacity not negative");
  if (sizes.value_dim == 0) sizes.value_dim = sizes.key_dim;
  return sizes;
}

/// Throws unless k and v are the next tokens of a cache of such sizes.
inline void check_tokens(const CacheSizes& sizes, Index length, const View<const float, 4>& k,
                         const View<const float, 4>& v) {
  const auto check = [&](const View<const float, 4>& x, const char* name, Index dim) {
    require(x.extent(0) == sizes.batch && x.extent(1) == sizes.kv_heads && x.extent(3) == dim, name,
            " ", x, " does not fit a cache of batch ", sizes.batch, ", ", sizes.kv_heads,
            " heads, ", dim, " channels");
    require(x.stride(3) == 1 || x.extent(3) == 1, name, " must have contiguous channels");
  };
  check(k, "k", sizes.key_dim);
  check(v, "v", sizes.value_dim);
  require(k.extent(2) == v.extent(2), "k brings ", k.extent(2), " tokens, v ", v.extent(2));
  require(length + k.extent(2) <= sizes.capacity, "the cache holds ", length, " of ",
          sizes.capacity, " tokens; there is no room for ", k.extent(2), " more");
}

/// A source of these sizes without tokens.
inline CodedKv empty_source(const CacheSizes& sizes, Index tokens) noexcept {
  CodedKv out;
  out.heads = sizes.kv_heads;
  out.key_channels = sizes.key_dim;
  out.value_channels = sizes.value_dim;
  out.tokens = tokens;
  return out;
}

}  // namespace detail

/// A cache of the kind that `options` describe.
template <class M, class S, class Z, class P, class Options>
  requires CodedCache<typename Options::Cache>
typename Options::Cache make_state(const Softmax<M, S, Z, P>& mixer, const Options& options,
                                   const CacheSizes& sizes) {
  weft::detail::require_streaming(mixer);
  return typename Options::Cache(options, sizes);
}

/// Attends to what a cache holds, and appends nothing.
template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q,
          CodedCache State, ViewLike<4> O>
void forward(const Softmax<M, S, Z, P>& mixer, const Q& q, const State& state, O&& out,
             const Context& ctx = Context()) {
  forward<A>(mixer, q, state.source(), out, ctx);
}

template <class A = DefaultArch, class M, class S, class Z, class P, CodedCache State,
          ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void prefill(const Softmax<M, S, Z, P>& mixer, State& state, const Q& q, const K& k, const V& v,
             O&& out, const Context& ctx = Context()) {
  using weft::detail::Element;
  weft::detail::require_streaming(mixer);
  const View<const Element<const K>, 4> keys = view_of(k);
  const View<const Element<const V>, 4> values = view_of(v);
  require(view_of(q).extent(2) == keys.extent(2), "prefill: q brings ", view_of(q).extent(2),
          " tokens, k ", keys.extent(2));
  const Arena::Frame frame(ctx.arena());
  const auto k_rows = detail::float_rows<A>(keys, ctx.arena());
  const auto v_rows = detail::float_rows<A>(values, ctx.arena());
  state.check(k_rows, v_rows);
  if constexpr (State::sees_codes) {
    const Index before = state.length();
    state.append(k_rows, v_rows, ctx);
#if defined(__cpp_exceptions)
    try {
      forward<A>(mixer, q, state.source(), out, ctx);
    } catch (...) {
      state.truncate(before);
      throw;
    }
#else
    (void)before;
    forward<A>(mixer, q, state.source(), out, ctx);
#endif
  } else {
    CodedKv source = state.source();
    source.key_side.fresh = k_rows;
    source.value_side.fresh = v_rows;
    source.tokens += keys.extent(2);
    forward<A>(mixer, q, source, out, ctx);
    state.append(k_rows, v_rows, ctx);
  }
}

template <class A = DefaultArch, class M, class S, class Z, class P, CodedCache State,
          ViewLike<3> Q, ViewLike<3> K, ViewLike<3> V, ViewLike<3> O>
void step(const Softmax<M, S, Z, P>& mixer, State& state, const Q& q, const K& k, const V& v,
          O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, weft::detail::token_of(q), weft::detail::token_of(k),
             weft::detail::token_of(v), weft::detail::one_token(view_of(out)), ctx);
}

}  // namespace weft::quant
