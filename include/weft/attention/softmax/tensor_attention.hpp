#pragma once

#include <weft/attention/softmax/merge.hpp>
#include <weft/attention/softmax/mixer.hpp>

namespace weft {

/// Third-order (Kronecker) attention to pairs of keys (How to Capture Higher-order Correlations?
/// Generalizing Matrix Softmax Attention to Kronecker Computation, arXiv:2310.04064):
///
///   s_ijk = scale sum_d q_id k1_jd k2_kd
///   out_i = sum_jk exp(s_ijk) (v1_j * v2_k) / sum_jk exp(s_ijk)           element-wise product
///   lse_i = ln sum_jk exp(s_ijk)
///
/// q [B, H, N, D], k1 [B, H, N1, D], k2 [B, H, N2, D], v1 [B, H, N1, E], v2 [B, H, N2, E], out
/// [B, H, N, E], lse [B, H, N]; elements fp32 or fp64, one type for all. One second key of ones
/// with a value of ones gives ordinary attention; exchanging (k1, v1) and (k2, v2) changes nothing.
///
/// The exact form is ordinary attention to keys k1_j * k2_k and values v1_j * v2_k, a few thousand
/// pairs at a time, whose results are merged: time O(B H N N1 N2 (D + E)), memory
/// O(B H (4096 + N2) (D + E)). It throws where shapes disagree.
struct TensorAttention {
  double scale = 0;  ///< 0 means 1 / D, as in the paper to our knowledge
};

namespace detail {

/// Pairs of keys that one call of the engine sees.
inline constexpr Index kPairs = 4096;

/// pairs[b, h, j n2 + k] = x1[b, h, first + j] * x2[b, h, k] for `count` rows j.
template <class T>
void multiply_pairs(const View<const T, 4>& x1, Index first, Index count,
                    const View<const T, 4>& x2, const View<T, 4>& pairs, const Context& ctx) {
  const Index heads = x1.extent(1), n2 = x2.extent(2), channels = x1.extent(3);
  ctx.parallel(x1.extent(0) * heads, [&](Index task, Arena&) {
    const Index b = task / heads, h = task % heads;
    for (Index j = 0; j < count; ++j)
      for (Index k = 0; k < n2; ++k) {
        const T* a = x1.pointer(b, h, first + j);
        const T* c = x2.pointer(b, h, k);
        T* to = pairs.pointer(b, h, j * n2 + k);
        for (Index d = 0; d < channels; ++d) to[d] = a[d] * c[d];
      }
  });
}

template <class T>
void check_tensor_attention(const View<const T, 4>& q, const View<const T, 4>& k1,
                            const View<const T, 4>& k2, const View<const T, 4>& v1,
                            const View<const T, 4>& v2, const View<T, 4>& out) {
  for (const auto* x : {&q, &k1, &k2, &v1, &v2}) {
    require(x->extent(0) == q.extent(0) && x->extent(1) == q.extent(1),
            "TensorAttention: an input is ", *x, ", q is ", q, "; wanted its batch size and heads");
    require_channels(*x, "TensorAttention: an input");
  }
  require(k1.extent(3) == q.extent(3) && k2.extent(3) == q.extent(3), "TensorAttention: q is ", q,
          ", k1 ", k1, ", k2 ", k2, "; wanted the same channels");
  require(v1.extent(2) == k1.extent(2) && v2.extent(2) == k2.extent(2), "TensorAttention: v1 is ",
          v1, " and v2 ", v2, ", k1 has ", k1.extent(2), " and k2 ", k2.extent(2), " tokens");
  require(v1.extent(3) == out.extent(3) && v2.extent(3) == out.extent(3) &&
              out.extent(0) == q.extent(0) && out.extent(1) == q.extent(1) &&
              out.extent(2) == q.extent(2),
          "TensorAttention: out is ", out, ", q ", q, ", v1 ", v1, ", v2 ", v2);
}

/// Copies a result so far to where merging reads it.
template <class T>
void keep_part(const View<T, 4>& out, const View<T, 3>& lse, const View<T, 4>& part,
               const View<T, 3>& sums) {
  for (Index b = 0; b < out.extent(0); ++b)
    for (Index h = 0; h < out.extent(1); ++h)
      for (Index i = 0; i < out.extent(2); ++i) {
        std::copy_n(out.pointer(b, h, i), out.extent(3), part.pointer(b, h, i));
        sums(b, h, i) = lse(b, h, i);
      }
}

inline double tensor_scale(const TensorAttention& mixer, Index channels) {
  require(std::isfinite(mixer.scale), "TensorAttention: scale must be finite, got ", mixer.scale);
  return mixer.scale != 0 ? mixer.scale : 1 / static_cast<double>(channels);
}

}  // namespace detail

template <class A = DefaultArch, class T>
void forward_with_lse(const TensorAttention& mixer, View<const T, 4> q,
                      std::type_identity_t<View<const T, 4>> k1,
                      std::type_identity_t<View<const T, 4>> k2,
                      std::type_identity_t<View<const T, 4>> v1,
                      std::type_identity_t<View<const T, 4>> v2,
                      std::type_identity_t<View<T, 4>> out, std::type_identity_t<View<T, 3>> lse,
                      const Context& ctx = Context()) {
  detail::check_tensor_attention<T>(q, k1, k2, v1, v2, out);
  const Index B = q.extent(0), H = q.extent(1), N = q.extent(2), n1 = k1.extent(2);
  const Index n2 = k2.extent(2), D = q.extent(3), E = out.extent(3);
  const Index rows =
      std::clamp<Index>(detail::kPairs / std::max<Index>(n2, 1), 1, std::max<Index>(n1, 1));
  Softmax pairs;
  pairs.scale = detail::tensor_scale(mixer, D);
  const Arena::Frame frame(ctx.arena());
  Arena& arena = ctx.arena();
  const auto scratch = [&]<std::size_t R>(const std::array<Index, R>& shape) {
    return View<T, R>(arena.take<T>(View<T, R>(nullptr, shape).size()), shape);
  };
  if (q.empty()) return;
  const auto keys = scratch(std::array{B, H, rows * n2, D});
  const auto values = scratch(std::array{B, H, rows * n2, E});
  const auto parts = scratch(std::array{Index{2}, B, H, N, E});
  const auto sums = scratch(std::array{Index{2}, B, H, N});
  for (Index j = 0; j == 0 || j < n1; j += rows) {
    const Index count = std::min(rows, n1 - j);
    const auto k = keys.slice(2, 0, count * n2), v = values.slice(2, 0, count * n2);
    detail::multiply_pairs<T>(k1, j, count, k2, k, ctx);
    detail::multiply_pairs<T>(v1, j, count, v2, v, ctx);
    if (j == 0) {
      forward_with_lse<A>(pairs, q, k, v, out, lse, ctx);
      continue;
    }
    detail::keep_part(out, lse, parts.select(0, 0), sums.select(0, 0));
    forward_with_lse<A>(pairs, q, k, v, parts.select(0, 1), sums.select(0, 1), ctx);
    merge_partials(parts, sums, out, lse);
  }
}

}  // namespace weft
