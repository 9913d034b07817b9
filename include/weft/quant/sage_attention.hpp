#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/bytes.hpp>
#include <weft/quant/dot_codes.hpp>

#include <cmath>

/// Softmax attention with products of 8-bit integers (SageAttention: Accurate 8-Bit Attention for
/// Plug-and-play Inference Acceleration, arXiv:2410.02367).
///
///   mu     = mean of k over all tokens of the head; softmax does not see a vector that all keys
///            share, and without it the channels of keys that are all large need no range
///   q_i    = c_i s_q,  c = rint(q scale log2 e / s_q),  s_q = max |.| / 127 of `query_block` rows
///   k_j    = mu + d_j s_k,  d = rint((k - mu) / s_k),   s_k = max |.| / 127 of `key_block` rows
///   s_ij   = s_q s_k (c_i . d_j),   p_ij = 2^(s_ij - m_i)            m the running maximum
///   out_i  = sum_j p_ij v_j / sum_j p_ij
///
/// With `int8_values` the second product is one of integers too: within a key block
///   sum_j rint(127 p_ij) w_j s_v / 127,   w = rint(v / s_v),  s_v = max |v| / 127 of a channel
/// where p depends on the maximum as it stands at that block, so that key_block is part of the
/// result.
///
/// Shapes, grouped heads, masks and storage as in Softmax; arithmetic is fp32 and exact int32. The
/// error is about 1 % of the magnitude of the output. Rows that see no key get 0. Inputs must be
/// finite: keys and values share their scales with others.
///
/// Time that of Softmax with the first product (and the second) at the rate of integers; memory a
/// byte per element of K (and V). Forward only: a mean over later tokens would change old codes;
/// see kv_cache.hpp for a cache.
namespace weft::quant {

template <class M = NoMask>
struct SageAttention {
  static_assert(Mask<M>, "the policy of SageAttention must model Mask");

  M mask{};
  Index query_block = 128;   ///< rows that share s_q, at least 1
  Index key_block = 64;      ///< rows that share s_k, 1 to 256
  bool int8_values = false;  ///< codes for the weights and values as well
  double scale = 0;          ///< of q . k; 0 means 1 / sqrt(D)
};
SageAttention() -> SageAttention<>;
template <class M>
SageAttention(M) -> SageAttention<M>;
template <class M>
SageAttention(M, Index, Index, bool) -> SageAttention<M>;

namespace detail {

inline constexpr float kByteTop = 127;

/// Codes of a head: words of four bytes.
struct SageHead {
  float* mean;            ///< [D]
  std::uint32_t* keys;    ///< [blocks][words of D][columns of a block], bytes + 128
  float* key_scale;       ///< [blocks]
  std::uint32_t* values;  ///< [blocks][words of a block][E], or null
  float* value_scale;     ///< [E]
};

/// One call. A task quantizes a head, and then one attends with a block of query rows.
template <class A, class M>
class SageCall {
  using V = Vec<float, A>;
  using I = Vec<std::int32_t, A>;
  using Tiles = weft::detail::Tiles<float, A>;
  using Policy = weft::detail::Policies<M, NoScore, PlainSoftmax>;
  static constexpr Index W = kWidth<float, A>;
  static constexpr Index kRows = Tiles::kRows, kLd = Tiles::kLd;

 public:
  SageCall(const SageAttention<M>& mixer, const weft::detail::Problem<float>& problem)
      : mixer_(mixer),
        p_(problem),
        words_(ceil_div(problem.kv.key_dim, 4)),
        columns_(round_up(mixer.key_block, 16)),
        block_words_(ceil_div(mixer.key_block, 4)),
        key_ld_(round_up(problem.kv.key_dim, kWidth<float, A>)),
        value_ld_(round_up(problem.kv.value_dim, kWidth<float, A>)),
        keys_(problem.batch == 0 ? 0 : problem.keys_of(0)),
        blocks_(ceil_div(keys_, mixer.key_block)) {}

  void run(const Context& ctx) const {
    Arena::Frame frame(ctx.arena());
    const Index kv_heads = p_.kv.kv_heads;
    auto* heads = ctx.arena().take<SageHead>(p_.batch * kv_heads);
    for (Index i = 0; i < p_.batch * kv_heads; ++i) heads[i] = allocate(ctx.arena());
    ctx.parallel(p_.batch * kv_heads, [&](Index task, Arena& arena) {
      encode_keys(task / kv_heads, task % kv_heads, heads[task], arena);
      if (mixer_.int8_values) encode_values(task / kv_heads, task % kv_heads, heads[task], arena);
    });
    // Late blocks first, as a causal mask wants it.
    const Index parts = ceil_div(p_.queries, mixer_.query_block), group = p_.group();
    ctx.parallel(p_.batch * p_.heads * parts, [&](Index task, Arena& arena) {
      const Index b = task / parts / p_.heads, h = task / parts % p_.heads;
      attend(b, h, (parts - 1 - task % parts) * mixer_.query_block, heads[b * kv_heads + h / group],
             arena);
    });
  }

  /// Memory for the codes of a head.
  SageHead allocate(Arena& arena) const {
    return {arena.take<float>(key_ld_), arena.take<std::uint32_t>(blocks_ * words_ * columns_),
            arena.take<float>(blocks_),
            mixer_.int8_values ? arena.take<std::uint32_t>(blocks_ * block_words_ * value_ld_)
                               : nullptr,
            arena.take<float>(value_ld_)};
  }

  void encode_keys(Index b, Index h, const SageHead& head, Arena& arena) const {
    const Index D = p_.kv.key_dim;
    auto* sum = arena.take<double>(D);
    std::fill_n(sum, D, 0.0);
    std::fill_n(head.mean, key_ld_, 0.f);
    for_each_block(b, h, false, arena, [&](Index block, const auto& rows) {
      for (Index j = 0; j < block_size(block); ++j)
        for (Index d = 0; d < D; ++d) sum[d] += rows.at[j * rows.step + d];
    });
    for (Index d = 0; d < D; ++d)
      head.mean[d] = static_cast<float>(sum[d] / static_cast<double>(keys_));
    auto* bytes = arena.take<std::uint8_t>(4 * words_);
    for_each_block(b, h, false, arena, [&](Index block, const auto& rows) {
      encode_key_block(block, rows, head, bytes);
    });
  }

  void encode_values(Index b, Index h, const SageHead& head, Arena& arena) const {
    std::fill_n(head.value_scale, value_ld_, 0.f);
    for_each_block(b, h, true, arena, [&](Index block, const auto& rows) {
      for (Index j = 0; j < block_size(block); ++j)
        for (Index e = 0; e < value_ld_; e += W)
          store<A>(head.value_scale + e,
                   xsimd::max(load<A>(head.value_scale + e),
                              xsimd::abs(load<A>(rows.at + j * rows.step + e)) / V(kByteTop)));
    });
    for_each_block(b, h, true, arena, [&](Index block, const auto& rows) {
      const Index n = block_size(block);
      std::uint32_t* words = head.values + block * block_words_ * value_ld_;
      for (Index j = 0; j < n; j += 4, words += value_ld_)
        for (Index e = 0; e < value_ld_; e += W) {
          const V scale = load<A>(head.value_scale + e);
          I word(0);
          for (Index i = std::min<Index>(4, n - j); i-- > 0;)
            word =
                (word << 8) | (codes(load<A>(rows.at + (j + i) * rows.step + e), scale) & I(0xff));
          store<A>(reinterpret_cast<std::int32_t*>(words + e), word);
        }
    });
  }

  /// The query rows of a task.
  struct Block {
    Index batch, head, first, count;
    float* queries;        ///< times scale log2 e
    std::int8_t* codes;    ///< [count][4 words]
    std::int32_t* totals;  ///< sums of codes
    float scale;
    float *m, *l, *acc;
    std::int32_t* sums;  ///< of one tile
    float* logits;
    std::uint8_t* weights;  ///< of one tile, as codes
    float* value_buffer;
  };

  /// Codes of its queries, and memory for the rest.
  Block prepare(Index b, Index h, Index first, Arena& arena) const {
    const Index count = std::min(mixer_.query_block, p_.queries - first);
    Block w{b,
            h,
            first,
            count,
            arena.take<float>(count * key_ld_),
            arena.take<std::int8_t>(count * 4 * words_),
            arena.take<std::int32_t>(count),
            0,
            arena.take<float>(count),
            arena.take<float>(count),
            arena.take<float>(count * value_ld_),
            arena.take<std::int32_t>(kRows * std::max(columns_, value_ld_)),
            arena.take<float>(kRows * kLd),
            arena.take<std::uint8_t>(kRows * weight_bytes()),
            arena.take<float>(mixer_.key_block * value_ld_)};
    std::fill_n(w.m, count, weft::detail::kHidden<float>);
    std::fill_n(w.l, count, 0.f);
    std::fill_n(w.acc, count * value_ld_, 0.f);
    encode_queries(w);
    return w;
  }

  void encode_queries(Block& w) const noexcept {
    const V factor(static_cast<float>(p_.scale) * weft::detail::kLog2e<float>);
    V most(0.f);
    for (Index r = 0; r < w.count; ++r) {
      float* q = w.queries + r * key_ld_;
      p_.q.load(p_.query(w.batch, w.head, w.first + r), q, p_.kv.key_dim, key_ld_);
      for (Index d = 0; d < key_ld_; d += W) {
        const V x = load<A>(q + d) * factor;
        store<A>(q + d, x);
        most = xsimd::max(most, xsimd::abs(x));
      }
    }
    w.scale = weft::detail::max_lanes(most) / kByteTop;
    for (Index r = 0; r < w.count; ++r) {
      std::int8_t* to = w.codes + r * 4 * words_;
      I total(0);
      for (Index d = 0; d < 4 * words_; d += W) {
        const I code = codes(load<A>(w.queries + r * key_ld_ + d), V(w.scale));
        total += code;
        store_bytes_partial<A>(to + d, code, std::min(W, 4 * words_ - d));
      }
      alignas(64) std::int32_t lanes[W];
      total.store_aligned(lanes);
      w.totals[r] = 0;
      for (const std::int32_t lane : lanes) w.totals[r] += lane;
    }
  }

 private:
  /// rint(x / scale) within +-127; 0 where the scale is.
  [[gnu::always_inline]] static I codes(const V& x, const V& scale) noexcept {
    const V top(kByteTop), zero(0.f);
    const V code = xsimd::max(xsimd::min(x / scale, top), -top);
    return xsimd::nearbyint_as_int(V(xsimd::select(scale == zero, zero, code)));
  }

  template <class Rows>
  void encode_key_block(Index block, const Rows& rows, const SageHead& head,
                        std::uint8_t* bytes) const noexcept {
    const Index n = block_size(block), D = p_.kv.key_dim;
    const auto centered = [&](Index j, Index d) __attribute__((always_inline)) {
      const float* at = rows.at + j * rows.step + d;
      const V x = d + W <= D ? load<A>(at) : load_partial<A>(at, D - d);
      return x - load<A>(head.mean + d);
    };
    V most(0.f);
    for (Index j = 0; j < n; ++j)
      for (Index d = 0; d < D; d += W) most = xsimd::max(most, xsimd::abs(centered(j, d)));
    head.key_scale[block] = weft::detail::max_lanes(most) / kByteTop;
    const V scale(head.key_scale[block]);
    std::uint32_t* words = head.keys + block * words_ * columns_;
    for (Index j = 0; j < n; ++j) {
      for (Index d = 0; d < D; d += W) {
        const I code = codes(centered(j, d), scale) + I(128);
        if (d + W <= 4 * words_)
          store_bytes<A>(bytes + d, code);
        else
          store_bytes_partial<A>(bytes + d, code, 4 * words_ - d);
      }
      for (Index w = 0; w < words_; ++w) std::memcpy(words + w * columns_ + j, bytes + 4 * w, 4);
    }
    for (Index w = 0; w < words_; ++w)
      std::fill(words + w * columns_ + n, words + (w + 1) * columns_, 0u);
  }

  /// Codes of the weights of a row and a block: whole registers, zero beyond the block.
  Index weight_bytes() const noexcept { return round_up(mixer_.key_block, 16); }

  Index block_size(Index block) const noexcept {
    return std::min(mixer_.key_block, keys_ - block * mixer_.key_block);
  }

  /// Calls f(block, rows of its keys or values) for every block of a head.
  template <class F>
  void for_each_block(Index b, Index h, bool values, Arena& arena, const F& f) const {
    float* buffer = arena.take<float>(mixer_.key_block * (values ? value_ld_ : key_ld_));
    for (Index block = 0; block < blocks_; ++block) {
      const Index j0 = block * mixer_.key_block, n = block_size(block);
      const auto& kv = p_.kv;
      f(block, values ? kv.value_rows(kv.source, b, h, j0, n, false, buffer)
                      : kv.key_rows(kv.source, b, h, j0, n, buffer));
    }
  }

  void attend(Index b, Index h, Index first, const SageHead& head, Arena& arena) const {
    Block w = prepare(b, h, first, arena);
    for (Index block = 0; block < blocks_; ++block) key_block(w, block, head);
    for (Index r = 0; r < w.count; ++r) finish(w, r, head);
  }

  void key_block(Block& w, Index block, const SageHead& head) const noexcept {
    const Index j0 = block * mixer_.key_block, n = block_size(block);
    weft::detail::RowsOf<float> values{};
    for (Index r0 = 0; r0 < w.count; r0 += kRows) {
      const Index rows = std::min(kRows, w.count - r0);
      const Index i0 = w.first + r0;
      const Coverage coverage = mixer_.mask.classify(
          Tile{w.batch, {i0, i0 + rows - 1}, {j0, j0 + n - 1}, p_.queries, keys_});
      if (coverage == Coverage::empty) continue;
      logits(w, r0, rows, block, n, head);
      weigh(w, r0, rows, coverage == Coverage::partial, j0, n);
      if (mixer_.int8_values) {
        add_coded_values(w, r0, rows, block, n, head);
        continue;
      }
      if (values.at == nullptr)
        values = p_.kv.value_rows(p_.kv.source, w.batch, w.head / p_.group(), j0, n, false,
                                  w.value_buffer);
      Tiles{}.add_values(w.logits, rows, 0, n, values, nullptr, n, value_ld_,
                         w.acc + r0 * value_ld_);
    }
  }

  void logits(const Block& w, Index r0, Index rows, Index block, Index n,
              const SageHead& head) const noexcept {
    const Index cols = round_up(n, W);
    weft::detail::strips_product<A, DotCodes<A, 8>>(
        rows, cols, words_,
        reinterpret_cast<const weft::detail::ByteQuad*>(w.codes + r0 * 4 * words_), words_,
        head.keys + block * words_ * columns_, columns_, w.sums, columns_, false);
    const V scale(w.scale * head.key_scale[block]);
    for (Index r = 0; r < rows; ++r) {
      const I bias(128 * w.totals[r0 + r]);
      for (Index c = 0; c < cols; c += W)
        store<A>(w.logits + r * kLd + c,
                 xsimd::to_float(load<A>(w.sums + r * columns_ + c) - bias) * scale);
    }
  }

  Row row(const Block& w, Index r) const noexcept {
    return {w.batch, w.head, w.first + r, p_.queries, keys_};
  }
  weft::detail::RowState<float> state(const Block& w, Index r) const noexcept {
    return {w.m + r, w.l + r, w.acc + r * value_ld_};
  }

  /// Logits to weights. The base of a row is its maximum at every moment.
  void weigh(const Block& w, Index r0, Index rows, bool masked, Index j0, Index n) const noexcept {
    const NoScore score;
    const Policy policies{mixer_.mask, score};
    for (Index r = 0; r < rows; ++r) {
      float* s = w.logits + r * kLd;
      const auto of_row = row(w, r0 + r);
      const float top =
          masked ? weft::detail::finish_logits<float, A, true>(policies, of_row, j0, 0, n, s)
                 : weft::detail::finish_logits<float, A, false>(policies, of_row, j0, 0, n, s);
      const auto at = state(w, r0 + r);
      if (top > *at.m) weft::detail::rebase_row<float, A>(at, top, value_ld_);
    }
    for (Index r = 0; r < rows; ++r)
      weft::detail::take_weights<float, A>(w.logits + r * kLd, 0, n, w.logits + r * kLd,
                                           state(w, r0 + r), weft::detail::AsTheyAre{});
  }

  void add_coded_values(const Block& w, Index r0, Index rows, Index block, Index n,
                        const SageHead& head) const noexcept {
    const Index words = ceil_div(n, 4), bytes = weight_bytes();
    for (Index r = 0; r < rows; ++r) {
      std::uint8_t* to = w.weights + r * bytes;
      for (Index c = 0; c < n; c += W) {
        const I code = xsimd::nearbyint_as_int(V(load<A>(w.logits + r * kLd + c) * V(kByteTop)));
        store_bytes<A>(to + c, code);
      }
    }
    weft::detail::strips_product<A, SignedWords>(
        rows, value_ld_, words, reinterpret_cast<const weft::detail::ByteQuad*>(w.weights),
        bytes / 4, head.values + block * block_words_ * value_ld_, value_ld_, w.sums, value_ld_,
        false);
    for (Index r = 0; r < rows; ++r)
      for (Index e = 0; e < value_ld_; e += W) {
        float* acc = w.acc + (r0 + r) * value_ld_ + e;
        store<A>(acc, load<A>(acc) + xsimd::to_float(load<A>(w.sums + r * value_ld_ + e)));
      }
  }

  /// A step over a word of signed bytes and four unsigned ones.
  struct SignedWords : DotCodes<A, 8> {
    [[gnu::always_inline]] static I apply(const I& a, const I& b, const I& acc) noexcept {
      return weft::detail::dot_bytes<A>(a, b, acc);
    }
  };

  void finish(const Block& w, Index r, const SageHead& head) const noexcept {
    const auto at = state(w, r);
    if (mixer_.int8_values)
      for (Index e = 0; e < value_ld_; e += W)
        store<A>(at.acc + e, load<A>(at.acc + e) * load<A>(head.value_scale + e) * V(1 / kByteTop));
    weft::detail::finish_row(p_, PlainSoftmax{}, row(w, r), at);
    float* lse = p_.lse_at(w.batch, w.head, w.first + r);
    if (lse == nullptr) return;
    // The mean belongs to the logits, though softmax does not see it.
    V shift(0.f);
    for (Index d = 0; d < key_ld_; d += W)
      shift = mul_add(load<A>(w.queries + r * key_ld_ + d), load<A>(head.mean + d), shift);
    *lse += weft::detail::sum_lanes(shift) * weft::detail::kLn2<float>;
  }

  const SageAttention<M>& mixer_;
  const weft::detail::Problem<float>& p_;
  Index words_, columns_, block_words_, key_ld_, value_ld_, keys_, blocks_;
};

template <class A, class M, class Q, class K, class V, class O>
void sage(const SageAttention<M>& mixer, const View<const Q, 4>& q, const View<const K, 4>& k,
          const View<const V, 4>& v, const View<O, 4>& out, const View<float, 3>* lse,
          const Context& ctx) {
  static_assert(std::is_same_v<Accumulator<Q>, float>, "SageAttention: queries cannot be fp64");
  require(
      mixer.query_block >= 1 && mixer.key_block >= 1 && mixer.key_block <= weft::detail::kKeyTile,
      "SageAttention: blocks of ", mixer.query_block, " queries and ", mixer.key_block,
      " keys; wanted at least 1, and at most ", weft::detail::kKeyTile, " keys");
  const auto source = weft::detail::checked_kv<K, V>(k, v);
  require(q.extent(0) == k.extent(0), "q has batch size ", q.extent(0), ", k has ", k.extent(0));
  auto problem = weft::detail::problem_of<float, A>(
      q, out, weft::detail::erase_kv<float, A>(source), weft::detail::scale_of(mixer, k.extent(3)));
  if (lse != nullptr) problem.lse = weft::detail::checked_lse<float>(*lse, q);
  weft::detail::check_policy(mixer.mask, problem.batch, problem.heads, problem.queries,
                             k.extent(2));
  if (problem.batch == 0 || problem.heads == 0 || problem.queries == 0) return;
  SageCall<A, M>(mixer, problem).run(ctx);
}

}  // namespace detail

/// Throws weft::error when shapes do not fit or a block size is out of range.
template <class A = DefaultArch, class M, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const SageAttention<M>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using weft::detail::Element;
  detail::sage<A, M, Element<const Q>, Element<const K>, Element<const V>>(
      mixer, view_of(q), view_of(k), view_of(v), view_of(out), nullptr, ctx);
}

/// forward, and the natural log-sum-exp of each row of logits in `lse` [B, Hq, N].
template <class A = DefaultArch, class M, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O, ViewLike<3> L>
void forward_with_lse(const SageAttention<M>& mixer, const Q& q, const K& k, const V& v, O&& out,
                      L&& lse, const Context& ctx = Context()) {
  using weft::detail::Element;
  const View<float, 3> sums = view_of(lse);
  detail::sage<A, M, Element<const Q>, Element<const K>, Element<const V>>(
      mixer, view_of(q), view_of(k), view_of(v), view_of(out), &sums, ctx);
}

}  // namespace weft::quant
