#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/kernelized/row_ops.hpp>

#include <cmath>

/// Attention of a sequence laid out in rows of W tokens to its own rows, columns and spans: what
/// the forms of Combiner are put together from.
namespace weft::detail {

/// The masks of all forms in one type, so that the engine is compiled once.
struct SpanMask {
  enum class Kind { all, up_to, earlier, later, others };

  Kind kind = Kind::all;
  Index width = 1;    ///< of earlier: key r is visible to query i where r < i / width
  Index hidden = -1;  ///< batch element that sees nothing

  static constexpr SpanMask all() noexcept { return {}; }
  static constexpr SpanMask up_to() noexcept { return {Kind::up_to}; }
  static constexpr SpanMask earlier(Index width) noexcept { return {Kind::earlier, width}; }
  static constexpr SpanMask later() noexcept { return {Kind::later}; }
  static constexpr SpanMask others() noexcept { return {Kind::others}; }
  constexpr SpanMask without(Index batch) const noexcept { return {kind, width, batch}; }

  constexpr bool visible(const Row& r, Index key) const noexcept {
    if (r.batch == hidden) return false;
    switch (kind) {
      case Kind::all: return true;
      case Kind::up_to: return key <= r.query;
      case Kind::earlier: return key < r.query / width;
      case Kind::later: return key > r.query;
      default: return key != r.query;
    }
  }

  constexpr Coverage classify(const Tile& t) const noexcept {
    if (t.batch == hidden) return Coverage::empty;
    const auto decide = [](bool none, bool every) {
      return none ? Coverage::empty : every ? Coverage::full : Coverage::partial;
    };
    switch (kind) {
      case Kind::all: return Coverage::full;
      case Kind::up_to:
        return decide(t.keys.first > t.queries.last, t.keys.last <= t.queries.first);
      case Kind::earlier:
        return decide(t.keys.first >= t.queries.last / width,
                      t.keys.last < t.queries.first / width);
      case Kind::later:
        return decide(t.keys.last <= t.queries.first, t.keys.first > t.queries.last);
      default: return decide(false, t.keys.last < t.queries.first || t.keys.first > t.queries.last);
    }
  }

  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    if (r.batch == hidden) return first_lanes<T, A>(0);
    switch (kind) {
      case Kind::all: return first_lanes<T, A>(kWidth<T, A>);
      case Kind::up_to: return first_lanes<T, A>(r.query - j0 + 1);
      case Kind::earlier: return first_lanes<T, A>(r.query / width - j0);
      case Kind::later: return !first_lanes<T, A>(r.query - j0 + 1);
      default:
        return lane_numbers<T, typename A::simd>() != Vec<T, A>(static_cast<T>(r.query - j0));
    }
  }
};
static_assert(Mask<SpanMask>);

/// x [B, H, N, D] of one sequence as [N / size, H, size, D], parts of the sequence being the batch;
/// or as [size, H, N / size, D], columns being it.
template <class T>
View<T, 4> split_tokens(const View<T, 4>& x, Index b, Index size, bool columns) noexcept {
  const Index parts = x.extent(2) / size;
  const View<T, 4> rows(x.data() + b * x.stride(0), {parts, x.extent(1), size, x.extent(3)},
                        {size * x.stride(2), x.stride(1), x.stride(2), x.stride(3)});
  return columns ? rows.transpose(0, 2) : rows;
}

template <class T>
View<T, 3> split_tokens(const View<T, 3>& lse, Index b, Index size, bool columns) noexcept {
  const View<T, 3> rows(lse.data() + b * lse.stride(0), {lse.extent(2) / size, lse.extent(1), size},
                        {size * lse.stride(2), lse.stride(1), lse.stride(2)});
  return columns ? rows.transpose(0, 2) : rows;
}

/// One softmax; `lse` may be null.
template <class A, class T>
void span_softmax(const SpanMask& mask, double scale, const View<const T, 4>& q,
                  const View<const T, 4>& k, const View<const T, 4>& v, const View<T, 4>& out,
                  const View<T, 3>* lse, const Context& ctx) {
  const Softmax mixer{mask, NoScore{}, PlainSoftmax{}, scale};
  if (lse == nullptr) return forward<A>(mixer, q, k, v, out, ctx);
  forward_with_lse<A>(mixer, q, k, v, out, *lse, ctx);
}

template <class T>
void check_spans(const View<const T, 4>& q, const View<const T, 4>& k, const View<const T, 4>& v,
                 const View<T, 4>& out, Index segment) {
  require(k.shape() == q.shape(), "Combiner: k is ", k, ", q ", q, "; give them one shape");
  require(v.shape() == out.shape(), "Combiner: v is ", v, ", out ", out, "; give them one shape");
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(q, "q", v, "v", axis, "leading axes");
  require_channels(q, "q");
  require_channels(k, "k");
  require_channels(v, "v");
  require_channels(out, "out");
  require(segment >= 1 && q.extent(2) % segment == 0, "Combiner: rows of ", segment, " in ",
          q.extent(2), " tokens; the first must divide the second");
}

/// Which way running maxima go: down a column, or through a row to the right or to the left.
enum class Along { down, right, left };

/// The parts of one softmax over direct tokens and spans, and what they are made of.
template <class T, class A>
class SpanAttention {
 public:
  using In = View<const T, 4>;

  /// `parts` results are to be merged.
  SpanAttention(In q, In k, In v, View<T, 4> out, Index segment, double scale, Index parts,
                const Context& ctx)
      : q_(q), k_(k), v_(v), out_(out), segment_(segment), scale_(scale), ctx_(ctx) {
    const Index B = q.extent(0), H = q.extent(1), N = q.extent(2);
    parts_ = scratch<T, 5>(ctx.arena(), {parts, B, H, N, v.extent(3)});
    sums_ = scratch<T, 4>(ctx.arena(), {parts, B, H, N});
  }

  const In& q() const noexcept { return q_; }
  const In& k() const noexcept { return k_; }
  const In& v() const noexcept { return v_; }

  /// Room for one value per token.
  View<T, 4> values() const { return scratch<T, 4>(ctx_.arena(), v_.shape()); }

  /// Attention within each row, or within each column: part `part`, or values of spans.
  void rows(const SpanMask& mask, In q, In k, In v, Index part) const {
    lines(mask, q, k, v, part, false);
  }
  void columns(const SpanMask& mask, In q, In k, In v, Index part) const {
    lines(mask, q, k, v, part, true);
  }
  void rows(const SpanMask& mask, In q, In k, In v, View<T, 4> to) const {
    lines(mask, q, k, v, to, nullptr, false);
  }
  void columns(const SpanMask& mask, In q, In k, In v, View<T, 4> to) const {
    lines(mask, q, k, v, to, nullptr, true);
  }

  /// Part `part`: attention of every token to keys of whole spans.
  void tokens(const SpanMask& mask, In keys, In values, Index part) const {
    const View<T, 3> lse = sums_.select(0, part);
    span_softmax<A, T>(mask, scale_, q_, keys, values, parts_.select(0, part), &lse, ctx_);
  }

  struct Segments {
    In keys, values;  // [B, H, N / W, .]
  };

  /// Every row as one span.
  Segments segments() const {
    const Index B = q_.extent(0), H = q_.extent(1), S = q_.extent(2) / segment_;
    const auto queries = scratch<T, 4>(ctx_.arena(), {B, H, S, q_.extent(3)});
    const auto keys = scratch<T, 4>(ctx_.arena(), {B, H, S, k_.extent(3)});
    const auto values = scratch<T, 4>(ctx_.arena(), {B, H, S, v_.extent(3)});
    largest_of_rows(q_, queries);
    largest_of_rows(k_, keys);
    for (Index b = 0; b < B; ++b)
      span_softmax<A, T>(SpanMask::all(), scale_, split_tokens<const T>(queries, b, 1, false),
                         split_tokens(k_, b, segment_, false), split_tokens(v_, b, segment_, false),
                         split_tokens(values, b, 1, false), nullptr, ctx_);
    return {keys, values};
  }

  /// For each token the maximum of the tokens before it in its row or column, without itself; zeros
  /// where there is none.
  View<T, 4> maxima(const In& x, Along along) const {
    const View<T, 4> to = scratch<T, 4>(ctx_.arena(), x.shape());
    const Index N = x.extent(2), D = x.extent(3);
    const Index step = along == Along::down ? segment_ : along == Along::right ? 1 : -1;
    for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
      for (Index t = 0; t < N; ++t) {
        const Index n = step > 0 ? t : N - 1 - t;
        const Index place = along == Along::down ? t / segment_ : t % segment_;
        T* at = to.pointer(b, h, n);
        if (place == 0)
          std::fill_n(at, D, T(0));
        else if (place == 1)
          std::copy_n(x.pointer(b, h, n - step), D, at);
        else
          max_rows<A>(x.pointer(b, h, n - step), to.pointer(b, h, n - step), at, D);
      }
    });
    return to;
  }

  /// out = all parts in one softmax: their mean by exp(lse). Every token sees itself in one of
  /// them.
  void merge() const {
    const Index N = q_.extent(2), P = parts_.extent(0), E = out_.extent(3);
    for_each_head(q_.extent(0), q_.extent(1), [&](Index b, Index h) {
      for (Index i = 0; i < N; ++i) {
        T top = sums_(0, b, h, i), total = 0;
        for (Index p = 1; p < P; ++p) top = std::max(top, sums_(p, b, h, i));
        for (Index p = 0; p < P; ++p) {
          T& sum = sums_(p, b, h, i);
          sum = std::exp(sum - top);
          total += sum;
        }
        T* to = out_.pointer(b, h, i);
        std::fill_n(to, E, T(0));
        for (Index p = 0; p < P; ++p)
          add_scaled<A>(sums_(p, b, h, i) / total, parts_.pointer(p, b, h, i), to, E);
      }
    });
  }

 private:
  void lines(const SpanMask& mask, In q, In k, In v, Index part, bool columns) const {
    const View<T, 3> lse = sums_.select(0, part);
    lines(mask, q, k, v, parts_.select(0, part), &lse, columns);
  }

  void lines(const SpanMask& mask, In q, In k, In v, View<T, 4> to, const View<T, 3>* lse,
             bool columns) const {
    for (Index b = 0; b < q.extent(0); ++b) {
      const auto split = [&](const auto& x) { return split_tokens(x, b, segment_, columns); };
      const View<T, 3> sums = lse == nullptr ? View<T, 3>() : split(*lse);
      span_softmax<A, T>(mask, scale_, split(q), split(k), split(v), split(to),
                         lse == nullptr ? nullptr : &sums, ctx_);
    }
  }

  void largest_of_rows(const In& x, const View<T, 4>& to) const {
    for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
      for (Index n = 0; n < x.extent(2); ++n) {
        T* at = to.pointer(b, h, n / segment_);
        if (n % segment_ == 0)
          std::copy_n(x.pointer(b, h, n), x.extent(3), at);
        else
          max_rows<A>(x.pointer(b, h, n), at, at, x.extent(3));
      }
    });
  }

  In q_, k_, v_;
  View<T, 4> out_;
  Index segment_;
  double scale_;
  const Context& ctx_;
  View<T, 5> parts_;
  View<T, 4> sums_;
};

/// One head of [B, H, N, D] as [1, 1, N, D].
template <class T>
View<T, 4> one_head(const View<T, 4>& x, Index b, Index h) {
  return x.slice(0, b, 1).slice(1, h, 1);
}

struct SpanOptions {
  Index segment;
  double scale;
  Index parts;
};

/// All heads, one after the other: what belongs to one stays in the cache.
template <class T, class A>
class SpanHeads {
 public:
  using In = View<const T, 4>;

  SpanHeads(In q, In k, In v, View<T, 4> out, SpanOptions options, const Context& ctx)
      : q_(q), k_(k), v_(v), out_(out), options_(options), ctx_(ctx) {
    check_spans<T>(q, k, v, out, options.segment);
  }

  /// f(attention, b, h) fills the parts of a head, which are merged then.
  template <class F>
  void for_each(F f) const {
    for_each_head(q_.extent(0), q_.extent(1), [&](Index b, Index h) {
      const Arena::Frame frame(ctx_.arena());
      const SpanAttention<T, A> spans(one_head(q_, b, h), one_head(k_, b, h), one_head(v_, b, h),
                                      one_head(out_, b, h), options_.segment, options_.scale,
                                      options_.parts, ctx_);
      f(spans, b, h);
      spans.merge();
    });
  }

 private:
  In q_, k_, v_;
  View<T, 4> out_;
  SpanOptions options_;
  const Context& ctx_;
};

}  // namespace weft::detail
