#pragma once

#include <weft/core/gemm_int8.hpp>
#include <weft/core/tensor.hpp>

/// Products of 8-bit integers, exact on every instruction set.
///
///   sums   C[m, n] = sum_k (A[m, k] - za[m]) (B[k, n] - zb[n])                      int32
///   reals  C[m, n] = epilogue(sa[m] sb[n] sums[m, n])                               float
///
/// A [M, K] is std::uint8_t or std::int8_t, B [K, N] std::int8_t and constant, packed once. The
/// zeros za, zb and scales sa, sb are given per row of A and column of B, or once for all, or left
/// out (0 and 1); zeros may lie outside of the range of the codes. The sum is expanded as
///
///   sum A B - za colsum(B) - zb rowsum(A) + K za zb,
///
/// where colsum is taken when B is packed; signed A is unsigned A with a zero of 128 more, because
/// that is what dot products of bytes are made for (see core/tile_int8.hpp).
///
/// Sums are taken modulo 2^32, so the result is exact if it fits into int32: for any K up to 65793,
/// or 131071 if both are signed and have no zeros. The order of summation does not matter.
/// Costs 2 M N K operations at the rate of AMX (16384 an instruction), VNNI or pmaddwd, and for
/// zb one more pass over A. K = 0 gives sums of 0.
///
/// Throws weft::error, before C is touched, where shapes do not fit.
namespace weft::quant {

/// A constant right operand B [depth, cols] of `gemm_int8`, packed as its kernels read it.
/// Memory: a byte per element and 4 per column, rounded up to whole panels.
template <class A = DefaultArch>
class PackedInt8 {
 public:
  using Kernel = weft::detail::QuadKernel<A>;
  using arch = A;

  PackedInt8() = default;

  /// The source, any strides, is not needed afterwards.
  explicit PackedInt8(View<const std::int8_t, 2> b)
      : depth_(b.extent(0)),
        cols_(b.extent(1)),
        sums_({round_up(cols_, Kernel::kCols)}),
        panels_(weft::detail::aligned_array<weft::detail::ByteQuad>(size())) {
    require(b.empty() || b.data() != nullptr, "PackedInt8: the matrix ", b, " has no data");
    const Index quads = Kernel::depth(depth_);
    Kernel::pack_panels(b, quads, panels_.get(), quads * Kernel::kCols);
    for (Index n = 0; n < cols_; ++n)
      for (Index k = 0; k < depth_; ++k) sums_(n) += b(k, n);
  }

  Index depth() const noexcept { return depth_; }
  Index cols() const noexcept { return cols_; }
  Index bytes() const noexcept { return 4 * (size() + sums_.size()); }

  /// B[k, n], for what needs single elements.
  std::int8_t operator()(Index k, Index n) const noexcept {
    constexpr Index NR = Kernel::kCols;
    const Index quad = (n / NR * Kernel::depth(depth_) + k / 4) * NR + n % NR;
    return static_cast<std::int8_t>(panels_[static_cast<std::size_t>(quad)].bytes[k % 4]);
  }

  const weft::detail::ByteQuad* data() const noexcept { return panels_.get(); }
  /// Sums of the columns, and zeros up to a whole panel.
  const std::int32_t* column_sums() const noexcept { return sums_.data(); }

 private:
  Index size() const noexcept { return round_up(cols_, Kernel::kCols) * Kernel::depth(depth_); }

  Index depth_ = 0, cols_ = 0;
  Tensor<std::int32_t, 1> sums_;
  std::unique_ptr<weft::detail::ByteQuad[], weft::detail::AlignedDelete> panels_;
};

/// Scales and zeros of the rows of A or of the columns of B: one each, one for all (extent 1), or
/// none (no data). Stride 1.
struct Grids {
  View<const float, 1> scale = {};
  View<const std::int32_t, 1> zero = {};
};

namespace detail {

/// One value per index, or the same for all.
template <class T>
class PerIndex {
 public:
  PerIndex(const View<const T, 1>& values, T otherwise, Index count, const char* name)
      : data_(values.data()), step_(values.extent(0) == 1 ? 0 : 1), otherwise_(otherwise) {
    if (data_ == nullptr) return;
    require(values.extent(0) == 1 ||
                (values.extent(0) == count && (count <= 1 || values.stride(0) == 1)),
            "gemm_int8: ", name, " has ", values.extent(0), " values, wanted 1 or ", count,
            " of stride 1");
  }

  bool given() const noexcept { return data_ != nullptr; }
  T operator[](Index i) const noexcept { return data_ ? data_[i * step_] : otherwise_; }

  /// The values of `lanes` indices from i on.
  template <class A>
  Vec<T, A> vector(Index i, Index lanes) const noexcept {
    if (!data_ || step_ == 0) return Vec<T, A>((*this)[i]);
    return lanes == kWidth<T, A> ? load<A>(data_ + i) : load_partial<A>(data_ + i, lanes);
  }

 private:
  const T* data_;
  Index step_;
  T otherwise_;
};

/// From sums of unsigned bytes times signed ones to what they stand for.
template <class A>
struct Corrected {
  const std::int32_t* column_sums;
  PerIndex<std::int32_t> left, right;  ///< zeros
  const std::int32_t* row_sums;        ///< of the unsigned bytes, if there are zeros of the right
  std::int32_t offset;                 ///< what made signed bytes unsigned
  std::int32_t depth;

  [[gnu::always_inline]] Vec<std::int32_t, A> operator()(Vec<std::int32_t, A> sums, Index row,
                                                         Index col, Index lanes) const noexcept {
    using V = Vec<std::int32_t, A>;
    const std::int32_t zero = left[row] + offset;
    if (zero != 0) sums -= V(zero) * load<A>(column_sums + col);
    if (row_sums != nullptr)
      sums -= right.template vector<A>(col, lanes) * V(row_sums[row] - depth * zero);
    return sums;
  }
};

/// And with scales.
template <class A>
struct Rescaled {
  Corrected<A> corrected;
  PerIndex<float> left, right;

  [[gnu::always_inline]] Vec<float, A> operator()(const Vec<std::int32_t, A>& sums, Index row,
                                                  Index col, Index lanes) const noexcept {
    return xsimd::to_float(corrected(sums, row, col, lanes)) *
           (Vec<float, A>(left[row]) * right.template vector<A>(col, lanes));
  }
};

template <class S>
constexpr std::int32_t kUnsignedOffset = std::is_signed_v<S> ? 128 : 0;

/// A as unsigned bytes: itself, or a copy with the sign bit flipped.
template <class A, class S>
View<const std::uint8_t, 2> as_unsigned(const View<const S, 2>& a, const Context& ctx) {
  if constexpr (std::is_same_v<S, std::uint8_t>) {
    return a;
  } else {
    const Index ld = 4 * weft::detail::byte_quads<A>(a.extent(1));
    auto* to = ctx.arena().take<std::uint8_t>(a.extent(0) * ld);
    for (Index r = 0; r < a.extent(0); ++r)
      for (Index k = 0; k < a.extent(1); ++k)
        to[r * ld + k] = static_cast<std::uint8_t>(a(r, k) + 128);
    return {to, a.shape(), {ld, 1}};
  }
}

inline const std::int32_t* sums_of_rows(const View<const std::uint8_t, 2>& a, const Context& ctx) {
  auto* sums = ctx.arena().take<std::int32_t>(a.extent(0));
  for (Index r = 0; r < a.extent(0); ++r) {
    sums[r] = 0;
    for (Index k = 0; k < a.extent(1); ++k) sums[r] += a(r, k);
  }
  return sums;
}

/// C = epilogue(raw sums of A B), A unsigned.
template <class A, class S, class E>
void multiply_bytes(const View<const std::uint8_t, 2>& a, const PackedInt8<A>& b,
                    const View<S, 2>& c, const E& epilogue, const Context& ctx) {
  using Kernel = typename PackedInt8<A>::Kernel;
  if (a.extent(0) == 1)
    return weft::detail::panel_gemv<Kernel, std::uint8_t>(a, b.data(), c, epilogue, ctx);
  weft::detail::with_int8_kernel<A>([&]<class K>(const K&) {
    weft::detail::multiply_packed<K, std::uint8_t>(a, b.data(), c, epilogue, ctx);
  });
}

template <class S, class A, class SC>
void check_int8(const View<const S, 2>& a, const PackedInt8<A>& b, const View<SC, 2>& c) {
  static_assert(sizeof(S) == 1, "gemm_int8: a holds std::uint8_t or std::int8_t");
  require(a.extent(1) == b.depth(), "gemm_int8: a has ", a.extent(1), " columns, b has ", b.depth(),
          " rows");
  require(c.extent(0) == a.extent(0) && c.extent(1) == b.cols(), "gemm_int8: c is ", c,
          ", the product is [", a.extent(0), ", ", b.cols(), "]");
  require((a.empty() || a.data() != nullptr) && (c.empty() || c.data() != nullptr),
          "gemm_int8: an operand has no data");
}

}  // namespace detail

/// The sums, as integers. Scales are ignored.
template <class LA, class A>
  requires ViewLike<const LA&, 2>
void gemm_int8(const LA& left, const Grids& left_grids, const PackedInt8<A>& b,
               const Grids& right_grids, View<std::int32_t, 2> c, const Context& ctx = Context{}) {
  const auto a = view_of(left);
  using S = std::remove_const_t<typename decltype(a)::value_type>;
  detail::check_int8<S>(a, b, c);
  detail::PerIndex<std::int32_t> za(left_grids.zero, 0, a.extent(0), "the zeros of a"),
      zb(right_grids.zero, 0, b.cols(), "the zeros of b");
  if (c.empty()) return;
  Arena::Frame frame(ctx.arena());
  const auto bytes = detail::as_unsigned<A, S>(a, ctx);
  const detail::Corrected<A> corrected{b.column_sums(),
                                       za,
                                       zb,
                                       zb.given() ? detail::sums_of_rows(bytes, ctx) : nullptr,
                                       detail::kUnsignedOffset<S>,
                                       static_cast<std::int32_t>(b.depth())};
  detail::multiply_bytes(bytes, b, c, corrected, ctx);
}

/// The reals. C is float, bf16 or fp16; the epilogue (core/epilogue.hpp) adds a bias and the like.
template <class LA, class A, class LC, class E = NoEpilogue>
  requires ViewLike<const LA&, 2> && ViewLike<LC&, 2> && (!std::same_as<E, Context>)
void gemm_int8(const LA& left, const Grids& left_grids, const PackedInt8<A>& b,
               const Grids& right_grids, LC&& out, const E& epilogue,
               const Context& ctx = Context{}) {
  const auto a = view_of(left);
  const auto c = view_of(out);
  using S = std::remove_const_t<typename decltype(a)::value_type>;
  detail::check_int8<S>(a, b, c);
  weft::detail::check_epilogue(epilogue, c.extent(0), c.extent(1));
  detail::PerIndex<std::int32_t> za(left_grids.zero, 0, a.extent(0), "the zeros of a"),
      zb(right_grids.zero, 0, b.cols(), "the zeros of b");
  detail::PerIndex<float> sa(left_grids.scale, 1, a.extent(0), "the scales of a"),
      sb(right_grids.scale, 1, b.cols(), "the scales of b");
  if (c.empty()) return;
  Arena::Frame frame(ctx.arena());
  const auto bytes = detail::as_unsigned<A, S>(a, ctx);
  const detail::Rescaled<A> reals{
      {b.column_sums(), za, zb, zb.given() ? detail::sums_of_rows(bytes, ctx) : nullptr,
       detail::kUnsignedOffset<S>, static_cast<std::int32_t>(b.depth())},
      sa,
      sb};
  detail::multiply_bytes(bytes, b, c, Then{reals, epilogue}, ctx);
}

}  // namespace weft::quant
