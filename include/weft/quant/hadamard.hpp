#pragma once

#include <weft/core/arguments.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/random.hpp>
#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

/// Hadamard rotation, which spreads outliers over all channels before they are quantized (QuaRot:
/// Outlier-Free 4-Bit Inference in Rotated LLMs, arXiv 2404.00456).
///
///   R = H_n / sqrt(n),   H_1 = [1],   H_2n = [[H_n, H_n], [H_n, -H_n]],   R = R^T,   R R = I
///   x' = (x o signs) R,   W' = (W o signs) R            so that x' W'^T = x W^T
///
/// for rows x of activations and rows of weights [out, in] alike; `signs` are +1 and -1, drawn at
/// random so that no direction is special. Lengths are kept, and a row with one entry other than 0
/// becomes a row of constant magnitude. RMSNorm commutes with R once its weight is folded into W.
///
/// Time n log2 n additions per row. Rows are read once and written once; between, a row goes
/// through the first-level cache once per three or four of its log2 n stages, which are done in
/// registers. The error is below eps log2 n |x|_2 / sqrt(n) per element.
namespace weft::quant {

/// +1 and -1 at random, the same for the same seed everywhere.
template <class T = float>
Tensor<T, 1> random_signs(Index size, std::uint64_t seed) {
  Tensor<T, 1> signs({size});
  Philox random(seed);
  for (T& s : signs.span()) s = (random() >> 31) != 0 ? T(-1) : T(1);
  return signs;
}

namespace detail {

/// log2 of the registers that a row goes through at a time: they and a few temporaries fit.
template <class A>
inline constexpr int kHadamardBits = kRegisters<A> == 32 ? 4 : 3;

/// What the first pass over a row reads.
template <class T, class A>
struct PlainRow {
  const T* x;
  Vec<T, A> load(Index i) const noexcept { return weft::load<A>(x + i); }
  Vec<T, A> load_partial(Index n) const noexcept { return weft::load_partial<A>(x, n); }
};
template <class T, class A>
struct SignedRow {
  const T* x;
  const T* signs;
  Vec<T, A> load(Index i) const noexcept { return weft::load<A>(x + i) * weft::load<A>(signs + i); }
  Vec<T, A> load_partial(Index n) const noexcept {
    return weft::load_partial<A>(x, n) * weft::load_partial<A>(signs, n);
  }
};

/// Sums and differences of R registers: all stages whose strides are registers.
template <int R, class V>
[[gnu::always_inline]] inline void butterflies_across(V (&v)[R]) noexcept {
#pragma GCC unroll 4
  for (int stride = 1; stride < R; stride *= 2)
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      if ((i & stride) != 0) continue;
      const V a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
}

/// The stages inside a register whose strides are Stride, 2 Stride, ... < n.
template <int Stride, class A, class T>
[[gnu::always_inline]] inline Vec<T, A> butterflies_within(Vec<T, A> v, Index n) noexcept {
  if constexpr (Stride >= kWidth<T, A>) {
    return v;
  } else {
    if (Stride >= n) return v;
    struct Partner {
      static constexpr unsigned get(unsigned lane, unsigned) {
        return lane ^ unsigned { Stride };
      }
    };
    using Lane = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    alignas(64) T signs[static_cast<std::size_t>(kWidth<T, A>)];
#pragma GCC unroll 16
    for (unsigned lane = 0; lane < static_cast<unsigned>(kWidth<T, A>); ++lane)
      signs[lane] = (lane & unsigned{Stride}) != 0 ? T(-1) : T(1);
    const auto partner = xsimd::swizzle(v, xsimd::make_batch_constant<Vec<Lane, A>, Partner>());
    return butterflies_within<2 * Stride, A, T>(mul_add(v, Vec<T, A>::load_aligned(signs), partner),
                                                n);
  }
}

/// The first pass: the stages of strides 1, ..., R width / 2, and the factor. It walks through
/// memory in order, which the passes over what is then in the cache do not.
template <int R, class A, class T, class Row>
void hadamard_first_pass(const Row& row, T* y, Index n, T factor) noexcept {
  constexpr Index W = kWidth<T, A>;
  const Vec<T, A> scale(factor);
  for (Index i = 0; i < n; i += R * W) {
    Vec<T, A> v[R];
#pragma GCC unroll 16
    for (int j = 0; j < R; ++j) v[j] = row.load(i + j * W);
    butterflies_across(v);
#pragma GCC unroll 16
    for (int j = 0; j < R; ++j)
      store<A>(y + i + j * W, butterflies_within<1, A, T>(v[j], W) * scale);
  }
}

/// A later pass: the stages of strides `stride`, ..., R stride / 2, multiples of the width.
template <int R, class A, class T>
void hadamard_pass(T* y, Index n, Index stride) noexcept {
  for (Index base = 0; base < n; base += R * stride)
    for (Index i = base; i < base + stride; i += kWidth<T, A>) {
      Vec<T, A> v[R];
#pragma GCC unroll 16
      for (int j = 0; j < R; ++j) v[j] = load<A>(y + i + j * stride);
      butterflies_across(v);
#pragma GCC unroll 16
      for (int j = 0; j < R; ++j) store<A>(y + i + j * stride, v[j]);
    }
}

/// f(std::integral_constant<int, 2^bits>) for bits = 0, ..., kHadamardBits.
template <class A, class F>
void with_radix(int bits, F f) {
  switch (bits) {
    case 0: return f(std::integral_constant<int, 1>{});
    case 1: return f(std::integral_constant<int, 2>{});
    case 2: return f(std::integral_constant<int, 4>{});
    case 3: return f(std::integral_constant<int, 8>{});
    default: return f(std::integral_constant<int, 1 << kHadamardBits<A>>{});
  }
}

/// y = row H_n / sqrt(n); y may be what `row` reads.
template <class A, class T, class Row>
void hadamard_row(const Row& row, T* y, Index n) noexcept {
  constexpr Index W = kWidth<T, A>;
  const T factor = static_cast<T>(1 / std::sqrt(static_cast<double>(n)));
  if (n < W) {
    const auto v = butterflies_within<1, A, T>(row.load_partial(n), n);
    return store_partial<A>(y, v * Vec<T, A>(factor), n);
  }
  int stages = std::countr_zero(static_cast<std::uint64_t>(n / W));  // those between registers
  int bits = std::min(stages, kHadamardBits<A>);
  with_radix<A>(
      bits, [&](auto radix) { hadamard_first_pass<decltype(radix)::value, A>(row, y, n, factor); });
  for (Index stride = W << bits; (stages -= bits) > 0; stride <<= bits) {
    bits = std::min(stages, kHadamardBits<A>);
    with_radix<A>(bits,
                  [&](auto radix) { hadamard_pass<decltype(radix)::value, A>(y, n, stride); });
  }
}

}  // namespace detail

/// y = x H_n / sqrt(n) along the last axis of arrays of one shape, float or double; y may be x.
/// Throws where n is not a power of two.
template <class A = DefaultArch, class X, class Y>
void hadamard_transform(const X& x, Y&& y, const Context& ctx = Context{}) {
  const auto to = view_of(y);
  using T = typename decltype(to)::value_type;
  const View<const T, decltype(to)::rank> from = view_of(x);
  weft::detail::require_same_rows("hadamard_transform", "x", from, "y", to);
  const Index n = to.extent(to.rank - 1);
  require(n > 0 && std::has_single_bit(static_cast<std::uint64_t>(n)), "hadamard_transform: ", n,
          " channels; wanted a power of two (HadamardRotation takes other multiples of it)");
  weft::detail::for_each_row(
      ctx,
      [n](Index, const T* row, T* out) {
        detail::hadamard_row<A, T>(detail::PlainRow<T, A>{row}, out, n);
      },
      from, to);
}

/// The rotation of rows of `size` = m 2^k channels, m odd: signs, and then R in each of the m
/// blocks of 2^k consecutive channels. The same object rotates activations and weights.
template <class T = float>
class HadamardRotation {
 public:
  /// Without signs. Throws unless size >= 1.
  explicit HadamardRotation(Index size) : size_(size) {
    require(size >= 1, "HadamardRotation: ", size, " channels; wanted at least 1");
  }

  /// Signs [size], which are copied. Throws where one is neither 1 nor -1.
  explicit HadamardRotation(View<const T, 1> signs) : HadamardRotation(signs.extent(0)) {
    signs_ = Tensor<T, 1>({size_});
    for (Index i = 0; i < size_; ++i) {
      require(signs(i) == 1 || signs(i) == -1, "HadamardRotation: sign ", i, " is ", signs(i),
              "; wanted 1 or -1");
      signs_(i) = signs(i);
    }
  }

  Index size() const noexcept { return size_; }
  Index block() const noexcept { return size_ & -size_; }            ///< 2^k
  View<const T, 1> signs() const noexcept { return signs_.view(); }  ///< empty: all 1

  /// y = (x o signs) R along the last axis, any rank; y may be x. Throws where x has other than
  /// `size` channels.
  template <class A = DefaultArch, class X, class Y>
  void apply(const X& x, Y&& y, const Context& ctx = Context{}) const {
    for_each_block<A>("HadamardRotation", x, y, ctx, [this](Index at, const T* from, T* to) {
      if (signs_.size() == 0)
        detail::hadamard_row<A, T>(detail::PlainRow<T, A>{from}, to, block());
      else
        detail::hadamard_row<A, T>(detail::SignedRow<T, A>{from, signs_.data() + at}, to, block());
    });
  }

  /// The other way: y = (x R) o signs.
  template <class A = DefaultArch, class X, class Y>
  void undo(const X& x, Y&& y, const Context& ctx = Context{}) const {
    for_each_block<A>("HadamardRotation", x, y, ctx, [this](Index at, const T* from, T* to) {
      detail::hadamard_row<A, T>(detail::PlainRow<T, A>{from}, to, block());
      for (Index i = 0; i < block() && signs_.size() != 0; ++i) to[i] *= signs_(at + i);
    });
  }

 private:
  /// f(first channel, row of x there, row of y there) for every block of every row.
  template <class A, class X, class Y, class F>
  void for_each_block(const char* name, const X& x, Y& y, const Context& ctx, F f) const {
    const auto to = view_of(y);
    const View<const T, decltype(to)::rank> from = view_of(x);
    weft::detail::require_same_rows(name, "x", from, "y", to);
    require(to.extent(to.rank - 1) == size_, name, ": x is ", from, ", the rotation has ", size_,
            " channels");
    weft::detail::for_each_row(
        ctx,
        [&](Index, const T* row, T* out) {
          for (Index at = 0; at < size_; at += block()) f(at, row + at, out + at);
        },
        from, to);
  }

  Index size_;
  Tensor<T, 1> signs_;
};

}  // namespace weft::quant
