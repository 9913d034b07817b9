#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/attention/softmax/top_k.hpp>

namespace weft {

/// k-means cross-attention (k-means Mask Transformer, kMaX-DeepLab, arXiv:2207.04044; PolyMaX,
/// arXiv:2311.05770): every pixel goes to the center it is closest to, and a center receives the
/// sum of its pixels.
///
///   s_lm         = score(scale c_l . k_m)        centers c [B, H, L, D], pixels k [B, H, M, D]
///   assigned_m   = argmax_l s_lm, the lowest l of equal ones             assigned [B, H, M]
///   update_l     = sum_{m : assigned_m = l} v_m    no mean; no pixel: 0  v [B, H, M, E]
///
/// The maximum runs over the centers: it is TopK with pixels in the role of queries and centers in
/// that of keys, which is how mask and score see them (row.query = m, key = l). A pixel that sees
/// no center gets assigned = -1 and goes nowhere. Published logits are those of normalised pixels
/// with a learned scale; the normalisations and the residual c + update stand around this.
///
/// Time O(B H M (L D + E)), memory O(B H M). Storage fp32, bf16, fp16 or fp64, sums in the type of
/// the accumulator of the pixels. Verb: forward. Throws weft::error when shapes do not fit.
template <class M = NoMask, class S = NoScore>
struct KMeans {
  M mask{};
  S score{};
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};
template <class M, class S>
KMeans(M, S, double) -> KMeans<M, S>;

namespace detail {

template <class C, class K, class V, class U>
void check_kmeans(const View<const C, 4>& centers, const View<const K, 4>& pixels,
                  const View<const V, 4>& values, const View<U, 4>& update,
                  const View<std::int32_t, 3>& assigned) {
  require_channels(values, "values");
  require_channels(update, "update");
  for (std::size_t axis : {0u, 1u}) {
    require_axis(centers, "centers", pixels, "pixels", axis, "batch size and heads");
    require_axis(centers, "centers", update, "update", axis, "batch size and heads");
  }
  require_axis(centers, "centers", update, "update", 2, "number of centers");
  require_axis(values, "values", update, "update", 3, "channels");
  for (std::size_t axis : {0u, 1u, 2u}) {
    require_axis(pixels, "pixels", values, "values", axis, "leading axes");
    require(assigned.extent(axis) == pixels.extent(axis), "assigned ", assigned,
            " must be [B, H, M] for pixels ", pixels);
  }
}

/// assigned[b, h, m]: the center with the largest logit, -1 where none is visible.
template <class A, class M, class S, class C, class K>
void assign_pixels(const KMeans<M, S>& mixer, const View<const C, 4>& centers,
                   const View<const K, 4>& pixels, const View<std::int32_t, 3>& assigned,
                   const Context& ctx) {
  using T = Accumulator<K>;
  const Index B = pixels.extent(0), H = pixels.extent(1), L = centers.extent(2),
              N = pixels.extent(2);
  Arena::Frame frame(ctx.arena());
  // Centers count from 1 here: 0 is what a row without keys gives.
  T* numbers = ctx.arena().template take<T>(L);
  for (Index l = 0; l < L; ++l) numbers[l] = static_cast<T>(l + 1);
  const View<const T, 4> names(numbers, {B, H, L, 1}, {0, 0, 1, 1});
  const View<T, 4> winners(ctx.arena().template take<T>(B * H * N), {B, H, N, 1});
  forward<A>(Softmax<M, S, TopK>{mixer.mask, mixer.score, TopK{1}, mixer.scale}, pixels, centers,
             names, winners, ctx);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index m = 0; m < N; ++m)
        assigned(b, h, m) = static_cast<std::int32_t>(winners(b, h, m, 0)) - 1;
}

/// update[l] = sum of the values assigned to l, in the order of the pixels. [M, E] to [L, E].
template <class T, class A, class V, class U>
void sum_assigned(const View<const V, 2>& values, const View<std::int32_t, 1>& assigned,
                  const View<U, 2>& update, Arena& arena) {
  const Index E = values.extent(1), ld = round_up(E, kWidth<T, A>);
  T* row = arena.take<T>(ld);
  T* sums = arena.take<T>(update.extent(0) * ld);
  std::fill_n(sums, update.extent(0) * ld, T(0));
  for (Index m = 0; m < values.extent(0); ++m) {
    if (assigned(m) < 0) continue;
    convert_row<T, A>(values.pointer(m), row, E, ld);
    add_scaled_row<T, A>(T(1), row, ld, sums + assigned(m) * ld);
  }
  for (Index l = 0; l < update.extent(0); ++l)
    store_scaled_row<T, A, U>(sums + l * ld, T(1), update.pointer(l), E);
}

}  // namespace detail

template <class A = DefaultArch, class M, class S, ViewLike<4> C, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> U, ViewLike<3> I>
void forward(const KMeans<M, S>& mixer, const C& centers, const K& pixels, const V& values,
             U&& update, I&& assigned, const Context& ctx = Context()) {
  using T = Accumulator<detail::Element<const K>>;
  const View<const detail::Element<const C>, 4> c = view_of(centers);
  const View<const detail::Element<const K>, 4> k = view_of(pixels);
  const View<const detail::Element<const V>, 4> v = view_of(values);
  const View<detail::Element<U>, 4> u = view_of(update);
  const View<std::int32_t, 3> to = view_of(assigned);
  detail::check_kmeans(c, k, v, u, to);
  detail::assign_pixels<A>(mixer, c, k, to, ctx);
  const Index heads = u.extent(1);
  ctx.parallel(u.extent(0) * heads, [&](Index task, Arena& arena) {
    const Index b = task / heads, h = task % heads;
    detail::sum_assigned<T, A>(v.select(0, b).select(0, h), to.select(0, b).select(0, h),
                               u.select(0, b).select(0, h), arena);
  });
}

}  // namespace weft
