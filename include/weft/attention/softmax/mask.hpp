#pragma once

#include <weft/attention/softmax/site.hpp>
#include <weft/core/view.hpp>

#include <concepts>
#include <cstdint>

/// Masks: which keys a query sees.
///
/// A mask is a plain struct with
///
///   Coverage classify(const Tile&) const noexcept;          empty, partial or full
///   bool visible(const Row&, Index key) const noexcept;     one element
///
/// and, when it can do better than asking element by element,
///
///   template <class T, class A>
///   Lanes<T, A> lanes(const Row&, Index j0) const noexcept; keys j0, j0 + 1, ... of one row
///
/// Empty tiles are skipped and full tiles run without the predicate, so a mask that cannot tell
/// answers partial: slow, never wrong. Masks combine with And and Or.
namespace weft {

template <class M>
concept Mask = requires(const M& m, const Tile& t, const Row& r, Index j) {
  { m.classify(t) } noexcept -> std::same_as<Coverage>;
  { m.visible(r, j) } noexcept -> std::same_as<bool>;
};

/// Whether later tokens are invisible by construction: what prefill and step ask for.
template <class M>
concept CausalMask = Mask<M> && requires(const M& m) {
  { m.is_causal() } noexcept -> std::same_as<bool>;
};

/// Every key is visible.
struct NoMask {
  constexpr Coverage classify(const Tile&) const noexcept { return Coverage::full; }
  constexpr bool visible(const Row&, Index) const noexcept { return true; }
};
static_assert(Mask<NoMask>);

/// Keys within [position - left, position + right] of the query; -1 leaves a side open.
/// `left` counts tokens before the query itself, so (0, 0) is the diagonal alone. Positions are
/// counted from the bottom right or the top left as `align` says; they coincide when N = M.
struct Window {
  Index left = -1;
  Index right = -1;
  Align align = Align::bottom_right;

  constexpr Coverage classify(const Tile& t) const noexcept {
    const Index shift = align == Align::bottom_right ? t.shift() : 0;
    const Range low{first(t.queries.first + shift), first(t.queries.last + shift)};
    const Range high{last(t.queries.first + shift), last(t.queries.last + shift)};
    if (t.keys.first > high.last || t.keys.last < low.first) return Coverage::empty;
    if (t.keys.first >= low.last && t.keys.last <= high.first) return Coverage::full;
    return Coverage::partial;
  }

  constexpr bool visible(const Row& r, Index key) const noexcept {
    const Index i = position(r);
    return key >= first(i) && key <= last(i);
  }

  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    const Index i = position(r);
    const Lanes<T, A> upto = first_lanes<T, A>(last(i) - j0 + 1);
    return left < 0 ? upto : upto && !first_lanes<T, A>(first(i) - j0);
  }

  constexpr bool is_causal() const noexcept { return right == 0 && align == Align::bottom_right; }

 private:
  static constexpr Index kOpen = Index{1} << 60;
  constexpr Index position(const Row& r) const noexcept {
    return align == Align::bottom_right ? r.position() : r.query;
  }
  constexpr Index first(Index i) const noexcept { return left < 0 ? -kOpen : i - left; }
  constexpr Index last(Index i) const noexcept { return right < 0 ? kOpen : i + right; }
};
static_assert(CausalMask<Window>);

/// Key j is visible to query i when j <= i + M - N (bottom_right) or j <= i (top_left). There is no
/// default: with N != M the two differ, and with N > M bottom_right hides every key from the first
/// N - M queries.
struct Causal {
  Align align;

  explicit constexpr Causal(Align a) noexcept : align(a) {}

  constexpr Coverage classify(const Tile& t) const noexcept { return window().classify(t); }
  constexpr bool visible(const Row& r, Index key) const noexcept {
    return window().visible(r, key);
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    return window().template lanes<T, A>(r, j0);
  }
  constexpr bool is_causal() const noexcept { return align == Align::bottom_right; }

 private:
  constexpr Window window() const noexcept { return {-1, 0, align}; }
};
static_assert(CausalMask<Causal>);

/// The first `count` keys: with a window, the sink tokens of StreamingLLM (arXiv:2309.17453):
/// And{Causal{...}, Or{Window{...}, FirstKeys{n}}}.
struct FirstKeys {
  Index count = 0;

  constexpr Coverage classify(const Tile& t) const noexcept {
    if (t.keys.first >= count) return Coverage::empty;
    return t.keys.last < count ? Coverage::full : Coverage::partial;
  }
  constexpr bool visible(const Row&, Index key) const noexcept { return key < count; }
  template <class T, class A>
  Lanes<T, A> lanes(const Row&, Index j0) const noexcept {
    return first_lanes<T, A>(count - j0);
  }
};
static_assert(Mask<FirstKeys>);

/// An explicit mask [B, H, N, M] of bytes, non-zero = visible; axes of extent 1 are broadcast.
struct BoolMask {
  View<const std::uint8_t, 4> bytes;

  explicit BoolMask(View<const std::uint8_t, 4> b) noexcept : bytes(b) {}

  Coverage classify(const Tile&) const noexcept { return Coverage::partial; }
  bool visible(const Row& r, Index key) const noexcept { return row(r)[key * step()] != 0; }

  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    constexpr Index W = kWidth<T, A>;
    const std::uint8_t* at = row(r) + j0 * step();
    const Index count = std::min(W, r.keys - j0);
    T flags[W] = {};
    for (Index l = 0; l < count; ++l) flags[l] = static_cast<T>(at[l * step()]);
    return load<A>(flags) != Vec<T, A>(T(0));
  }

  /// Throws unless every axis is 1 or the size given.
  void check(Index batch, Index heads, Index queries, Index keys) const {
    (void)bytes.broadcast({batch, heads, queries, keys});
  }

 private:
  Index step() const noexcept { return bytes.extent(3) == 1 ? 0 : bytes.stride(3); }
  const std::uint8_t* row(const Row& r) const noexcept {
    const auto at = [&](std::size_t axis, Index i) { return bytes.extent(axis) == 1 ? 0 : i; };
    return bytes.pointer(at(0, r.batch), at(1, r.head), at(2, r.query));
  }
};
static_assert(Mask<BoolMask>);

namespace detail {

/// The lanes of a mask, by its own vector form when it has one.
template <class T, class A, class M>
[[gnu::always_inline]] inline Lanes<T, A> mask_lanes(const M& mask, const Row& r,
                                                     Index j0) noexcept {
  if constexpr (requires { mask.template lanes<T, A>(r, j0); }) {
    return mask.template lanes<T, A>(r, j0);
  } else {
    constexpr Index W = kWidth<T, A>;
    const Index count = std::min(W, r.keys - j0);
    T flags[W] = {};
    for (Index l = 0; l < count; ++l) flags[l] = mask.visible(r, j0 + l) ? T(1) : T(0);
    return load<A>(flags) != Vec<T, A>(T(0));
  }
}

/// A policy that stands for data of the caller checks its shape before anything is computed.
template <class P>
void check_policy(const P& policy, Index batch, Index heads, Index queries, Index keys) {
  if constexpr (requires { policy.check(batch, heads, queries, keys); })
    policy.check(batch, heads, queries, keys);
}

}  // namespace detail

/// Visible in both.
template <Mask First, Mask Second>
struct And {
  First first;
  Second second;

  constexpr Coverage classify(const Tile& t) const noexcept {
    const Coverage a = first.classify(t), b = second.classify(t);
    if (a == Coverage::empty || b == Coverage::empty) return Coverage::empty;
    return a == Coverage::full && b == Coverage::full ? Coverage::full : Coverage::partial;
  }
  constexpr bool visible(const Row& r, Index key) const noexcept {
    return first.visible(r, key) && second.visible(r, key);
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    return detail::mask_lanes<T, A>(first, r, j0) && detail::mask_lanes<T, A>(second, r, j0);
  }
  constexpr bool is_causal() const noexcept {
    bool causal = false;
    if constexpr (CausalMask<First>) causal = causal || first.is_causal();
    if constexpr (CausalMask<Second>) causal = causal || second.is_causal();
    return causal;
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    detail::check_policy(first, batch, heads, queries, keys);
    detail::check_policy(second, batch, heads, queries, keys);
  }
};
template <class First, class Second>
And(First, Second) -> And<First, Second>;

/// Visible in either.
template <Mask First, Mask Second>
struct Or {
  First first;
  Second second;

  constexpr Coverage classify(const Tile& t) const noexcept {
    const Coverage a = first.classify(t), b = second.classify(t);
    if (a == Coverage::full || b == Coverage::full) return Coverage::full;
    return a == Coverage::empty && b == Coverage::empty ? Coverage::empty : Coverage::partial;
  }
  constexpr bool visible(const Row& r, Index key) const noexcept {
    return first.visible(r, key) || second.visible(r, key);
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    return detail::mask_lanes<T, A>(first, r, j0) || detail::mask_lanes<T, A>(second, r, j0);
  }
  constexpr bool is_causal() const noexcept {
    if constexpr (CausalMask<First> && CausalMask<Second>)
      return first.is_causal() && second.is_causal();
    else
      return false;
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    detail::check_policy(first, batch, heads, queries, keys);
    detail::check_policy(second, batch, heads, queries, keys);
  }
};
template <class First, class Second>
Or(First, Second) -> Or<First, Second>;

}  // namespace weft
