#pragma once

#include <weft/core/gemv.hpp>
#include <weft/core/packed_matrix.hpp>

/// Matrix product.
///
///   C[M, N] = epilogue(A[M, K] B[K, N])
///
/// Transposed operands are views: weights W[out, in] used as y = x W^T are
///
///   gemm(x, w.transpose(0, 1), y, Bias{bias}, ctx);
///
/// and a right operand that stays the same is packed once: `PackedMatrix` in place of B.
///
/// Element types: float, bf16 and fp16 in any mixture, with products and sums in float (those of
/// two bf16 by AMX or AVX-512 BF16 where the target has them); double, or double with float, in
/// double. C is rounded once, when it is stored. All strides are accepted; the order in memory
/// decides how operands are packed and makes little difference to the speed, except that columns of
/// C that are not adjacent are stored one element at a time.
///
/// C is overwritten (AddResidual{c} accumulates) and must not overlap A, B or what the epilogue
/// reads, with that one exception. K = 0 stores epilogue(0); M = 0 and N = 0 do nothing. Results do
/// not depend on the number of workers. Scratch memory, all of it from the context: a chunk
/// of A, 1 MB or 112 rows, unless it is rows of the type of the sums; of B as it is, 16 MB; and per
/// worker about 2 MB.
///
/// Throws weft::error, before C is touched, where the shapes do not fit.
namespace weft {

namespace detail {

/// What products of two storage types are computed in.
template <class SA, class SB>
using ProductType =
    std::conditional_t<std::is_same_v<SA, double> || std::is_same_v<SB, double>, double, float>;

template <class S>
void require_data(const char* name, const View<S, 2>& view) {
  require(view.empty() || view.data() != nullptr, "gemm: ", name, " is [", view.extent(0), ", ",
          view.extent(1), "] but has no data");
}

/// Everything that a caller can get wrong.
template <class SA, class SC, class E>
void check_gemm(const View<const SA, 2>& a, Index depth, Index cols, const View<SC, 2>& c,
                const E& epilogue) {
  static_assert(!std::is_const_v<SC>, "gemm: c is written, so its view must not be const");
  require(a.extent(1) == depth, "gemm: a has ", a.extent(1), " columns, b has ", depth,
          " rows; they are the same dimension (transpose a view with .transpose(0, 1))");
  require(c.extent(0) == a.extent(0) && c.extent(1) == cols, "gemm: c is [", c.extent(0), ", ",
          c.extent(1), "], the product is [", a.extent(0), ", ", cols, "]");
  require_data("a", a);
  require_data("c", c);
  check_epilogue(epilogue, c.extent(0), c.extent(1));
}

}  // namespace detail

/// C = epilogue(A B).
template <class A = DefaultArch, class LA, class LB, class LC, class E>
  requires ViewLike<const LA&, 2> && ViewLike<const LB&, 2> && ViewLike<LC&, 2> &&
           (!std::same_as<E, Context>)
void gemm(const LA& left, const LB& right, LC&& out, const E& epilogue,
          const Context& ctx = Context{}) {
  const auto a = view_of(left);
  const auto b = view_of(right);
  const auto c = view_of(out);
  using SA = typename decltype(a)::value_type;
  using SB = typename decltype(b)::value_type;
  using T = detail::ProductType<SA, SB>;
  static_assert(Epilogue<E, T, A>, "gemm: the epilogue is no function of a register of the sums");
  detail::check_gemm<SA>(a, b.extent(0), b.extent(1), c, epilogue);
  detail::require_data("b", b);
  if (c.empty()) return;
  if (a.extent(0) <= detail::kGemvRows && b.stride(0) == 1)
    return detail::dot_gemv<T, A, SA, SB>(a, b, c, epilogue, ctx);
  if (a.extent(0) <= detail::kGemvRows && b.stride(1) == 1)
    return detail::axpy_gemv<T, A, SA, SB>(a, b, c, epilogue, ctx);
  if constexpr (std::is_same_v<SA, bf16> && std::is_same_v<SB, bf16> && detail::kBf16Unit<A>)
    detail::with_bf16_kernel<A>(
        [&]<class K>(const K&) { detail::multiply_plain<K, SA, SB>(a, b, c, epilogue, ctx); });
  else
    detail::multiply_plain<detail::FmaKernel<T, A>, SA, SB>(a, b, c, epilogue, ctx);
}

/// C = A B.
template <class A = DefaultArch, class LA, class LB, class LC>
  requires ViewLike<const LA&, 2> && ViewLike<const LB&, 2> && ViewLike<LC&, 2>
void gemm(const LA& left, const LB& right, LC&& out, const Context& ctx = Context{}) {
  gemm<A>(left, right, out, NoEpilogue{}, ctx);
}

/// C = epilogue(A B), B packed beforehand.
template <class LA, class T, class A, class LC, class E>
  requires ViewLike<const LA&, 2> && ViewLike<LC&, 2> && (!std::same_as<E, Context>)
void gemm(const LA& left, const PackedMatrix<T, A>& b, LC&& out, const E& epilogue,
          const Context& ctx = Context{}) {
  const auto a = view_of(left);
  const auto c = view_of(out);
  using SA = typename decltype(a)::value_type;
  using Packed = PackedMatrix<T, A>;
  using Kernel = typename Packed::template KernelFor<SA>;
  static_assert(Epilogue<E, typename Kernel::Sum, A>,
                "gemm: the epilogue is no function of a register of the sums");
  detail::check_gemm<SA>(a, b.depth(), b.cols(), c, epilogue);
  if (c.empty()) return;
  if (a.extent(0) == 1) return detail::panel_gemv<Kernel, SA>(a, b.data(), c, epilogue, ctx);
  if constexpr (std::is_same_v<Kernel, detail::PairKernel<A>>)
    detail::with_bf16_kernel<A>(
        [&]<class K>(const K&) { detail::multiply_packed<K, SA>(a, b.data(), c, epilogue, ctx); });
  else
    detail::multiply_packed<Kernel, SA>(a, b.data(), c, epilogue, ctx);
}

/// C = A B, B packed beforehand.
template <class LA, class T, class A, class LC>
  requires ViewLike<const LA&, 2> && ViewLike<LC&, 2>
void gemm(const LA& left, const PackedMatrix<T, A>& b, LC&& out, const Context& ctx = Context{}) {
  gemm(left, b, out, NoEpilogue{}, ctx);
}

}  // namespace weft
