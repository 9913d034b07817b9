#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>
#include <weft/position/rope_frequencies.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace weft {

/// Rotary position embedding (RoFormer, arXiv:2104.09864).
///
/// The first R channels of a query or key at position p turn in pairs by the angle t_i = p f_i:
///   u' = u cos t_i - v sin t_i,   v' = v cos t_i + u sin t_i       i < R / 2
/// so that the product of a rotated query and a rotated key depends on their distance alone. The
/// channels R .. D - 1 are copied (partial rotary). Which channels are a pair (u, v) is the layout:
enum class RopeLayout {
  interleaved,  ///< (2i, 2i + 1): RoFormer, GPT-J
  half,         ///< (i, i + R / 2), "half-rotated": GPT-NeoX, Llama in the Hugging Face format
};

/// Cosines and sines, times the magnitude of the frequencies, for a range of positions or for given
/// real-valued ones. Angles are computed in double and rounded once, so that position 100000 is as
/// exact as position 1. Holds positions * R (half) or 2 * positions * R (interleaved) elements.
template <class T = float>
class RopeTable {
 public:
  /// Positions first .. first + count - 1. Throws on a negative count or no frequencies.
  RopeTable(const RopeFrequencies& frequencies, RopeLayout layout, Index count, Index first = 0)
      : RopeTable(frequencies, layout, count, first,
                  [first](Index row) { return static_cast<double>(first + row); }) {}

  /// Real-valued positions, such as times: row r is positions[r], and a token names its row. Take a
  /// reference near the data as zero: seconds since 1970 leave few digits to the angle.
  RopeTable(const RopeFrequencies& frequencies, RopeLayout layout, View<const double, 1> positions)
      : RopeTable(frequencies, layout, positions.extent(0), 0,
                  [positions](Index row) { return positions(row); }) {}

  RopeLayout layout() const noexcept { return layout_; }
  Index rotary() const noexcept { return rotary_; }            ///< R
  Index first() const noexcept { return first_; }              ///< position of row 0
  Index count() const noexcept { return cosines_.extent(0); }  ///< rows

  /// half: R / 2 values each. interleaved: R values each, every cosine twice and every sine once
  /// negated and once not, as the lanes of a register meet them.
  const T* cosines(Index row) const noexcept { return &cosines_(row, 0); }
  const T* sines(Index row) const noexcept { return &sines_(row, 0); }

 private:
  template <class Position>
  RopeTable(const RopeFrequencies& frequencies, RopeLayout layout, Index count, Index first,
            Position position)
      : layout_(layout), rotary_(frequencies.rotary()), first_(first) {
    require(count >= 0, "RopeTable: ", count, " positions");
    require(rotary_ > 0, "RopeTable: no frequencies; make them with rope_frequencies()");
    const Index columns = layout == RopeLayout::half ? rotary_ / 2 : rotary_;
    cosines_ = Tensor<T, 2>({count, columns});
    sines_ = Tensor<T, 2>({count, columns});
    for (Index row = 0; row < count; ++row) fill(frequencies, row, position(row));
  }

  void fill(const RopeFrequencies& frequencies, Index row, double position) {
    for (Index i = 0; i < rotary_ / 2; ++i) {
      const double angle = position * frequencies.radians[static_cast<std::size_t>(i)];
      const auto cosine = static_cast<T>(frequencies.magnitude * std::cos(angle));
      const auto sine = static_cast<T>(frequencies.magnitude * std::sin(angle));
      if (layout_ == RopeLayout::half) {
        cosines_(row, i) = cosine;
        sines_(row, i) = sine;
      } else {
        cosines_(row, 2 * i) = cosines_(row, 2 * i + 1) = cosine;
        sines_(row, 2 * i) = -sine;
        sines_(row, 2 * i + 1) = sine;
      }
    }
  }

  RopeLayout layout_;
  Index rotary_;
  Index first_;
  Tensor<T, 2> cosines_, sines_;
};

namespace detail {

/// Exchanges the lanes 2i and 2i + 1.
template <class A, class T>
Vec<T, A> swap_pairs(const Vec<T, A>& v) noexcept {
  struct Neighbour {
    static constexpr unsigned get(unsigned lane, unsigned) { return lane ^ 1u; }
  };
  using Lane = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  return xsimd::swizzle(v, xsimd::make_batch_constant<Vec<Lane, A>, Neighbour>());
}

/// Access to whole registers, and to the lanes of the last one: f(i, access) for i = 0, W, ... < n.
template <class T, class A>
struct AllLanes {
  template <class S>
  [[gnu::always_inline]] Vec<T, A> load(const S* p) const noexcept {
    return load_as<T, A>(p);
  }
  template <class S>
  [[gnu::always_inline]] void store(S* p, const Vec<T, A>& v) const noexcept {
    store_as<A>(p, v);
  }
};
template <class T, class A>
struct FirstLanes {
  Index count;

  template <class S>
  [[gnu::always_inline]] Vec<T, A> load(const S* p) const noexcept {
    return load_as_partial<T, A>(p, count);
  }
  template <class S>
  [[gnu::always_inline]] void store(S* p, const Vec<T, A>& v) const noexcept {
    store_as_partial<A>(p, v, count);
  }
};
template <class T, class A, class F>
[[gnu::always_inline]] inline void for_each_register(Index n, F f) noexcept {
  Index i = 0;
  for (; i + kWidth<T, A> <= n; i += kWidth<T, A>) f(i, AllLanes<T, A>{});
  if (i < n) f(i, FirstLanes<T, A>{n - i});
}

template <class A, class S, class T>
void rotate_interleaved(const S* x, S* y, const T* cosines, const T* sines, Index rotary) noexcept {
  for_each_register<T, A>(rotary, [&](Index i, const auto& at) {
    const Vec<T, A> v = at.load(x + i);
    const Vec<T, A> turned = swap_pairs<A, T>(v) * at.load(sines + i);
    at.store(y + i, mul_add(v, at.load(cosines + i), turned));
  });
}

template <class A, class S, class T>
void rotate_half(const S* x, S* y, const T* cosines, const T* sines, Index pairs) noexcept {
  for_each_register<T, A>(pairs, [&](Index i, const auto& at) {
    const Vec<T, A> u = at.load(x + i), v = at.load(x + pairs + i);
    const Vec<T, A> cosine = at.load(cosines + i), sine = at.load(sines + i);
    at.store(y + i, mul_add(u, cosine, -(v * sine)));
    at.store(y + pairs + i, mul_add(v, cosine, u * sine));
  });
}

template <class A, class S, class T>
void rotate_row(const RopeTable<T>& table, Index row, const S* x, S* y, Index channels) noexcept {
  const Index rotary = table.rotary();
  if (table.layout() == RopeLayout::half) {
    rotate_half<A>(x, y, table.cosines(row), table.sines(row), rotary / 2);
  } else {
    rotate_interleaved<A>(x, y, table.cosines(row), table.sines(row), rotary);
  }
  if (x != y && rotary < channels) std::copy(x + rotary, x + channels, y + rotary);
}

/// Positions per task: their part of the table (R = 128 in fp32: 32 KiB) about fills the L1 cache.
inline constexpr Index kRopeBlock = 32;

/// rotate_one(b, n, from, to) for the rows of all heads and positions of each batch element.
template <class S, class F>
void rotate_all(View<const S, 4> x, View<S, 4> out, F rotate_one, const Context& ctx) {
  const Index heads = x.extent(1), length = x.extent(2);
  const Index blocks = ceil_div(length, kRopeBlock);
  const auto rotate = [&](Index b, Index h, Index n) {
    rotate_one(b, n, x.pointer(b, h, n), out.pointer(b, h, n));
  };
  ctx.parallel(x.extent(0) * blocks, [&](Index task, Arena&) {
    const Index b = task / blocks, begin = task % blocks * kRopeBlock;
    const Index end = std::min(begin + kRopeBlock, length);
    // Walk along memory, whichever of head and position is the inner axis there.
    if (x.stride(1) < x.stride(2)) {
      for (Index n = begin; n < end; ++n)
        for (Index h = 0; h < heads; ++h) rotate(b, h, n);
    } else {
      for (Index h = 0; h < heads; ++h)
        for (Index n = begin; n < end; ++n) rotate(b, h, n);
    }
  });
}

template <class S, class T>
void check_rope_arguments(const RopeTable<T>& table, View<const S, 4> x, View<S, 4> out) {
  require(x.shape() == out.shape(), "apply_rope: out is ", out, ", x is ", x);
  require(x.extent(3) >= table.rotary(), "apply_rope: x has ", x.extent(3),
          " channels, the table turns ", table.rotary());
  require(x.stride(3) == 1 && out.stride(3) == 1,
          "apply_rope: the channels of x and out must be contiguous");
}

template <class T>
void check_rope_position(const RopeTable<T>& table, Index from, Index to) {
  require(from >= table.first() && to <= table.first() + table.count(), "apply_rope: positions [",
          from, ", ", to, ") leave the table's [", table.first(), ", ",
          table.first() + table.count(), ")");
}

template <class S, class T>
void check_rope_positions(const RopeTable<T>& table, const View<const std::int32_t, 2>& positions,
                          const View<const S, 4>& x) {
  require(positions.extent(0) == x.extent(0) && positions.extent(1) == x.extent(2),
          "apply_rope: positions are ", positions, ", x is ", x);
  for (Index b = 0; b < positions.extent(0); ++b)
    for (Index n = 0; n < positions.extent(1); ++n)
      check_rope_position(table, positions(b, n), Index{positions(b, n)} + 1);
}

}  // namespace detail

/// Rotates x [B, H, N, D] into out of the same shape, row n standing at position first + n. `out`
/// may be `x` itself; other overlaps are not allowed. Any strides, D contiguous. Elements float,
/// bf16 or fp16 with a float table, double with a double one. Allocates nothing.
///
/// Throws when shapes disagree, R > D, or a position is not in the table. Time O(B H N D).
template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> Y>
void apply_rope(const RopeTable<T>& table, const X& x, Y&& out, Index first,
                const Context& ctx = Context{}) {
  using S = typename decltype(view_of(out))::value_type;
  const View<const S, 4> from = view_of(x);
  const View<S, 4> to = view_of(out);
  detail::check_rope_arguments<S>(table, from, to);
  if (from.empty()) return;
  detail::check_rope_position(table, first, first + from.extent(2));
  const Index row = first - table.first(), channels = from.extent(3);
  const auto rotate = [&](Index, Index n, const S* old, S* turned) {
    detail::rotate_row<A>(table, row + n, old, turned, channels);
  };
  detail::rotate_all<S>(from, to, rotate, ctx);
}

/// The same with row n of batch b at positions(b, n), [B, N]; a stride of 0 shares them.
template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> Y>
void apply_rope(const RopeTable<T>& table, const X& x, Y&& out,
                View<const std::int32_t, 2> positions, const Context& ctx = Context{}) {
  using S = typename decltype(view_of(out))::value_type;
  const View<const S, 4> from = view_of(x);
  const View<S, 4> to = view_of(out);
  detail::check_rope_arguments<S>(table, from, to);
  detail::check_rope_positions(table, positions, from);
  const Index channels = from.extent(3);
  const auto rotate = [&](Index b, Index n, const S* old, S* turned) {
    detail::rotate_row<A>(table, positions(b, n) - table.first(), old, turned, channels);
  };
  detail::rotate_all<S>(from, to, rotate, ctx);
}

/// One token: x [B, H, D] at one position, as the verb `step` has it.
template <class A = DefaultArch, class T, ViewLike<3> X, ViewLike<3> Y>
void apply_rope(const RopeTable<T>& table, const X& x, Y&& out, Index position,
                const Context& ctx = Context{}) {
  const auto as_sequence = [](const auto& v) {
    using Element = std::remove_pointer_t<decltype(v.data())>;
    return View<Element, 4>(v.data(), {v.extent(0), v.extent(1), 1, v.extent(2)},
                            {v.stride(0), v.stride(1), 0, v.stride(2)});
  };
  apply_rope<A>(table, as_sequence(view_of(x)), as_sequence(view_of(out)), position, ctx);
}

}  // namespace weft
