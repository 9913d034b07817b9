#pragma once

#include <weft/layer/norm.hpp>
#include <weft/quant/vector_quantizer.hpp>

/// Codebook features: Sparse and Discrete Interpretability for Neural Networks (arXiv 2310.17230).
///
/// Hidden vectors are replaced by the mean of the k codes that resemble them most. The channels of
/// x [N, D] are G equal groups, each with a codebook [K, d] and a norm of its own, d = D / G:
///
///   u    = LayerNorm(x_g; gamma_g, beta_g, eps)
///   ids  = the k codes of the largest similarity, falling, the lowest number first on ties
///   out  = (1 / k) sum of these codes as they are, neither scaled nor mapped back through the norm
///
/// The similarity is <u, c> / |c| (the default of the paper; its cosine has the same order) or
/// -|u - c|^2. Heads of [B, N, H, d] are groups, too: see them as [B N, H d].
///
/// Paper's sizes: 10000 codes, k = 8 before each attention projection. Time O(N K D) for the
/// similarities, at the speed of `gemm`, and one pass over them. T is float or double.
///
/// Throws where shapes do not fit, k exceeds the codes that can be chosen (codes of length 0 have
/// no inner similarity), codes are not finite, or a vector is not.
namespace weft::quant {

template <class T = float, class A = DefaultArch>
class CodebookLayer {
 public:
  /// codebooks [G, K, d]; gamma and beta [G, d].
  CodebookLayer(View<const T, 3> codebooks, View<const T, 2> gamma, View<const T, 2> beta, Index k,
                Similarity similarity = Similarity::inner, T eps = static_cast<T>(1e-5))
      : codes_(codebooks.shape()),
        gamma_({groups(), dim()}),
        beta_({groups(), dim()}),
        k_(k),
        eps_(eps) {
    require(groups() >= 1 && gamma.shape() == gamma_.shape() && beta.shape() == gamma_.shape(),
            "CodebookLayer: codebooks are ", codebooks, ", gamma ", gamma, ", beta ", beta,
            "; wanted [G, K, d], [G, d] and [G, d]");
    for (Index g = 0; g < groups(); ++g) {
      scores_.emplace_back(codebooks.select(0, g), similarity);
      require(k >= 1 && k <= scores_.back().usable(), "CodebookLayer: the best ", k, " of ",
              scores_.back().usable(), " codes of group ", g);
      for (Index d = 0; d < dim(); ++d) {
        gamma_(g, d) = gamma(g, d);
        beta_(g, d) = beta(g, d);
        for (Index j = 0; j < codes_.extent(1); ++j) codes_(g, j, d) = codebooks(g, j, d);
      }
    }
  }

  Index groups() const noexcept { return codes_.extent(0); }
  Index dim() const noexcept { return codes_.extent(2); }  ///< of a group
  Index chosen() const noexcept { return k_; }

  /// out [N, G d] and ids [N, G, k] of x [N, G d]; rows contiguous, out may be x.
  void apply(View<const T, 2> x, View<T, 2> out, View<std::int32_t, 3> ids,
             const Context& ctx = Context{}) const {
    const Index N = x.extent(0), d = dim();
    require(x.extent(1) == groups() * d && out.shape() == x.shape(), "CodebookLayer: x is ", x,
            ", out ", out, "; wanted two of ", groups() * d, " channels");
    require(ids.extent(0) == N && ids.extent(1) == groups() && ids.extent(2) == k_,
            "CodebookLayer: ids are ", ids, "; wanted [", N, ", ", groups(), ", ", k_, "]");
    const Arena::Frame frame(ctx.arena());
    const View<T, 2> u(ctx.arena().template take<T>(N * d), {N, d});
    for (Index g = 0; g < groups(); ++g) {
      const LayerNorm<T> norm{gamma_.view().select(0, g), beta_.view().select(0, g), eps_};
      normalize<A>(norm, x.slice(1, g * d, d), u, ctx);
      choose(g, u, ids.select(1, g), ctx);
      detail::require_codes("CodebookLayer", ids.select(1, g).select(1, 0));
      average(g, ids.select(1, g), out.slice(1, g * d, d));
    }
  }

 private:
  /// ids [N, k] of normalised vectors; kNoCode in the first column where they are not finite.
  void choose(Index g, const View<const T, 2>& u, const View<std::int32_t, 2>& ids,
              const Context& ctx) const {
    const Arena::Frame frame(ctx.arena());
    using Scored = detail::ScoredCode<T>;
    Scored* all = ctx.arena().template take<Scored>(u.extent(0) * k_);
    const auto& scores = scores_[static_cast<std::size_t>(g)];
    scores.for_each_row(u, ctx, [&](Index row, const T* values, Index padded) {
      Scored* best = all + row * k_;
      const bool complete = detail::best_codes<A>(values, padded, k_, best) == k_;
      for (Index i = 0; i < k_; ++i)
        ids(row, i) = complete ? static_cast<std::int32_t>(best[i].code) : detail::kNoCode;
    });
  }

  void average(Index g, const View<const std::int32_t, 2>& ids, const View<T, 2>& out) const {
    const T share = T(1) / static_cast<T>(k_);
    for (Index n = 0; n < out.extent(0); ++n) {
      for (Index d = 0; d < dim(); ++d) out(n, d) = 0;
      for (Index i = 0; i < k_; ++i) {
        const T* code = &codes_(g, ids(n, i), 0);
        for (Index d = 0; d < dim(); ++d) out(n, d) += code[d] * share;
      }
    }
  }

  Tensor<T, 3> codes_;
  Tensor<T, 2> gamma_, beta_;
  std::vector<detail::CodeScores<T, A>> scores_;
  Index k_;
  T eps_;
};

}  // namespace weft::quant
