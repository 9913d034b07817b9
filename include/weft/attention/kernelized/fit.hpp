#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/kernelized/row_ops.hpp>
#include <weft/layer/rows.hpp>

namespace weft {

/// Groups of tokens that meet through latents (FIT: Far-reaching Interleaved Transformers,
/// arXiv:2305.12689). T groups of n tokens, each with m latents; one block is
///
///   x <- x + attention(x)          within every group; causal within it in the causal form (FITAR)
///   z <- z + attention(z; x)       the latents of a group read its tokens
///   z <- z + attention(z)          all latents; in the causal form those of groups up to their own
///   x <- x + attention(x; z')      tokens read the latents of their group; z' = z, in the causal
///                                  form z moved on by one group, zeros for the first
///
/// in any number of layers, with norms, projections and feed-forward layers between them, which are
/// those of layer/. Here are the four attentions without them, on views: with groups as the batch
/// [T, H, n, D] the first, second and fourth are softmax attention, and with all latents as one
/// sequence [1, H, T m, D] the third has the mask GroupCausal. The same memory is both: see
/// `as_groups`.
///
/// FitBlock is the block with identity projections and one head size, in place. x [B, H, T n, D]
/// and z [B, H, T m, D], any strides but 1 in the last axis. Elements fp32 or fp64, one type for
/// both. Throws where shapes do not fit. Time O(B H (T n^2 + T^2 m^2 + T n m) D), scratch memory of
/// the size of x and z.
struct FitBlock {
  Index groups;  ///< T, divides both lengths
  bool causal = false;
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

/// Latent j is visible to latent i when its group is not later: j / size <= i / size.
struct GroupCausal {
  Index size;

  constexpr bool visible(const Row& r, Index key) const noexcept {
    return key / size <= r.query / size;
  }
  constexpr Coverage classify(const Tile& t) const noexcept {
    if (t.keys.first / size > t.queries.last / size) return Coverage::empty;
    return t.keys.last / size <= t.queries.first / size ? Coverage::full : Coverage::partial;
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    return first_lanes<T, A>((r.query / size + 1) * size - j0);
  }
  constexpr bool is_causal() const noexcept { return size == 1; }
};
static_assert(CausalMask<GroupCausal>);

/// One sequence [H, T n, D] seen as a batch of its groups, [T, H, n, D].
template <class T>
View<T, 4> as_groups(const View<T, 3>& x, Index groups) {
  require(groups >= 1 && x.extent(1) % groups == 0, "as_groups: ", groups, " groups of ",
          x.extent(1), " tokens; the first must divide the second");
  const Index size = x.extent(1) / groups;
  return {x.data(),
          {groups, x.extent(0), size, x.extent(2)},
          {size * x.stride(1), x.stride(0), x.stride(1), x.stride(2)}};
}

namespace detail {

/// x += y, one shape.
template <class A, class T>
void add_tokens(const View<T, 4>& x, const View<const T, 4>& y, const Context& ctx) {
  const Index n = x.extent(3);
  for_each_row(
      ctx, [n](Index, T* to, const T* from) { add_scaled<A>(T(1), from, to, n); }, x, y);
}

/// The rounds of one sequence, x [T, H, n, D] and z [T, H, m, D].
template <class T, class A>
class FitRounds {
 public:
  FitRounds(const FitBlock& block, View<T, 4> x, View<T, 4> z, const Context& ctx)
      : block_(block), x_(x), z_(z), ctx_(ctx), update_x_(like(x)), update_z_(like(z)) {}

  void run() const {
    mix(Window{-1, block_.causal ? 0 : -1}, x_, x_, update_x_);
    add_tokens<A, T>(x_, update_x_, ctx_);
    mix(NoMask{}, z_, x_, update_z_);
    add_tokens<A, T>(z_, update_z_, ctx_);
    const Index m = z_.extent(2), groups = z_.extent(0);
    mix(GroupCausal{block_.causal ? std::max<Index>(m, 1) : std::max<Index>(m * groups, 1)},
        as_sequence(z_), as_sequence(z_), as_sequence(update_z_));
    add_tokens<A, T>(z_, update_z_, ctx_);
    mix(NoMask{}, x_, block_.causal ? shifted() : z_, update_x_);
    add_tokens<A, T>(x_, update_x_, ctx_);
  }

 private:
  /// Room for as many groups, which follow one another in memory as those of the sequence do.
  View<T, 4> like(const View<T, 4>& x) const {
    const Index tokens = x.extent(0) * x.extent(2);
    return as_groups(scratch<T, 3>(ctx_.arena(), {x.extent(1), tokens, x.extent(3)}), x.extent(0));
  }

  template <class M>
  void mix(const M& mask, const View<T, 4>& q, const View<T, 4>& kv, const View<T, 4>& out) const {
    forward<A>(Softmax{mask, NoScore{}, PlainSoftmax{}, block_.scale}, q, kv, kv, out, ctx_);
  }

  /// [T, H, m, D] as [1, H, T m, D]: one group follows the other.
  static View<T, 4> as_sequence(const View<T, 4>& z) noexcept {
    return {z.data(),
            {1, z.extent(1), z.extent(0) * z.extent(2), z.extent(3)},
            {0, z.stride(1), z.stride(2), z.stride(3)}};
  }

  /// The latents of the group before, zeros for the first.
  View<T, 4> shifted() const {
    const View<T, 4>& to = update_z_;
    for (Index g = 0; g < z_.extent(0); ++g)
      for (Index h = 0; h < z_.extent(1); ++h)
        for (Index j = 0; j < z_.extent(2); ++j)
          if (g == 0)
            std::fill_n(to.pointer(g, h, j), z_.extent(3), T(0));
          else
            std::copy_n(z_.pointer(g - 1, h, j), z_.extent(3), to.pointer(g, h, j));
    return to;
  }

  const FitBlock& block_;
  View<T, 4> x_, z_;
  const Context& ctx_;
  View<T, 4> update_x_, update_z_;
};

}  // namespace detail

/// One block; x and z are overwritten by the new tokens and latents.
template <class A = DefaultArch, ViewLike<4> X, ViewLike<4> Z>
void forward(const FitBlock& block, X&& tokens, Z&& latents, const Context& ctx = Context()) {
  using T = detail::Element<X>;
  const View<T, 4> x = view_of(tokens), z = view_of(latents);
  detail::require_channels(x, "x");
  detail::require_channels(z, "z");
  require(x.extent(0) == z.extent(0) && x.extent(1) == z.extent(1) && x.extent(3) == z.extent(3),
          "FitBlock: x is ", x, ", z ", z, "; only their lengths may differ");
  for (Index b = 0; b < x.extent(0); ++b) {
    const Arena::Frame frame(ctx.arena());
    detail::FitRounds<T, A>(block, as_groups(x.select(0, b), block.groups),
                            as_groups(z.select(0, b), block.groups), ctx)
        .run();
  }
}

}  // namespace weft
