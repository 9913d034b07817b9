#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/core/reduce.hpp>

#include <cmath>

namespace weft {

/// Attention between channels (multi-Dconv head transposed attention; Restormer: Efficient
/// Transformer for High-Resolution Image Restoration, arXiv:2111.09881), linear in the tokens.
///
///   s_ij  = temperature_h (q_i . k_j) / (max(|q_i|, 1e-12) max(|k_j|, 1e-12))      i, j < C / H
///   out_i = sum_j softmax_j(s_i)_j v_j
///
/// q_i is channel i of a head at all n tokens: q, k, v, out [B, H, C / H, n], tokens adjacent. The
/// projections around it, a 1 x 1 convolution, a depthwise one of 3 x 3 (layer/depthwise_conv.hpp)
/// and a 1 x 1 one, are the caller's. `temperature` [H]. A channel of zeros has logits 0.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B C^2 n / H), scratch memory O(B C^2 / H).
template <class T = float>
struct Mdta {
  View<const T, 1> temperature;
};

namespace detail {

template <class A, class T>
T inverse_length(const T* row, Index n) noexcept {
  return T(1) / std::max(std::sqrt(row_sum_of_squares<A>(row, n)), static_cast<T>(1e-12));
}

/// Logits of one head [c, c].
template <class A, class T>
void channel_logits(const View<const T, 2>& q, const View<const T, 2>& k, T temperature,
                    const View<T, 2>& logits, const Context& ctx) {
  const Index c = q.extent(0), n = q.extent(1);
  const Arena::Frame frame(ctx.arena());
  T* of_key = ctx.arena().template take<T>(c);
  for (Index j = 0; j < c; ++j) of_key[j] = inverse_length<A>(k.pointer(j), n);
  gemm<A>(q, k.transpose(0, 1), logits, ctx);
  for (Index i = 0; i < c; ++i) {
    const T own = temperature * inverse_length<A>(q.pointer(i), n);
    for (Index j = 0; j < c; ++j) logits(i, j) *= own * of_key[j];
  }
}

template <class T>
void check_mdta(const Mdta<T>& mixer, const View<const T, 4>& q, const View<const T, 4>& k,
                const View<const T, 4>& v, const View<T, 4>& out) {
  require(k.shape() == q.shape() && v.shape() == q.shape() && out.shape() == q.shape(),
          "Mdta: q is ", q, ", k ", k, ", v ", v, ", out ", out, "; give them one shape");
  require(mixer.temperature.extent(0) == q.extent(1), "Mdta: ", mixer.temperature.extent(0),
          " temperatures for ", q.extent(1), " heads");
  require(q.extent(3) <= 1 || (q.stride(3) == 1 && k.stride(3) == 1),
          "Mdta: the tokens of q and k must be adjacent");
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const Mdta<T>& mixer, const Q& query, const K& key, const V& value, O&& result,
             const Context& ctx = Context()) {
  const View<const T, 4> q = view_of(query), k = view_of(key), v = view_of(value);
  const View<T, 4> out = view_of(result);
  detail::check_mdta(mixer, q, k, v, out);
  if (q.empty()) return;
  const Index B = q.extent(0), H = q.extent(1), c = q.extent(2);
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const auto logits = detail::scratch<T, 4>(arena, {B, H, c, c});
  const auto weights = detail::scratch<T, 4>(arena, {B, H, c, c});
  detail::for_each_head(B, H, [&](Index b, Index h) {
    detail::channel_logits<A, T>(detail::head_of(q, b, h), detail::head_of(k, b, h),
                                 mixer.temperature(h), detail::head_of(logits, b, h), ctx);
  });
  detail::attend_by_logits<A, NoMask, T>(NoMask{}, logits,
                                         detail::identity_values<T>(B, H, c, arena), weights, ctx);
  detail::for_each_head(B, H, [&](Index b, Index h) {
    gemm<A>(detail::head_of(weights, b, h), detail::head_of(v, b, h), detail::head_of(out, b, h),
            ctx);
  });
}

}  // namespace weft
