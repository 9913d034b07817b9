#pragma once

#include <weft/quant/code_scores.hpp>

#include <cstdint>
#include <vector>

/// Vector quantization: each vector x [D] becomes the number of the nearest code of a codebook
/// [K, D], and residual vector quantization, which goes on with what is left:
///
///   VectorQuantizer     id = argmin_j |x - c_j|^2 = argmax_j <x, c_j> - |c_j|^2 / 2
///   ResidualQuantizer   r = x;  for each stage l:  id_l = argmin_j |r - C_l[j]|,  r -= C_l[id_l]
///                       x ~ sum_l C_l[id_l]
///
/// The lowest number wins ties; distances closer than the rounding of a product of D terms may be
/// taken for each other. Each residual is no longer than the one before if every codebook holds the
/// zero vector. T is float or double.
///
/// Time O(N K D) per stage, at the speed of `gemm` (code_scores.hpp). Throws where shapes do not
/// fit, codes are not finite, or a vector has no nearest code because it is not finite.
namespace weft::quant {

namespace detail {

/// The number of a vector that has no nearest code.
inline constexpr std::int32_t kNoCode = -1;

inline void require_codes(const char* verb, const View<const std::int32_t, 1>& ids) {
  for (Index n = 0; n < ids.extent(0); ++n)
    require(ids(n) != kNoCode, verb, ": row ", n, " of x is not finite");
}

}  // namespace detail

template <class T = float, class A = DefaultArch>
class VectorQuantizer {
 public:
  /// codebook [K, D], copied.
  explicit VectorQuantizer(View<const T, 2> codebook)
      : scores_(codebook, Similarity::euclidean), codes_(codebook.shape()) {
    for (Index j = 0; j < size(); ++j)
      for (Index d = 0; d < dim(); ++d) codes_(j, d) = codebook(j, d);
  }

  Index size() const noexcept { return codes_.extent(0); }
  Index dim() const noexcept { return codes_.extent(1); }
  View<const T, 2> codebook() const noexcept { return codes_; }

  /// ids [N] of x [N, D].
  void encode(View<const T, 2> x, View<std::int32_t, 1> ids, const Context& ctx = Context{}) const {
    require(ids.extent(0) == x.extent(0), "encode: x has ", x.extent(0), " rows, ids ",
            ids.extent(0));
    scores_.for_each_row(x, ctx, [&](Index row, const T* scores, Index padded) {
      const auto best = detail::best_code<A>(scores, padded);
      ids(row) = std::isfinite(best.score) ? static_cast<std::int32_t>(best.code) : detail::kNoCode;
    });
    detail::require_codes("encode", ids);
  }

  /// out [N, K] = products of x [N, D] with all codes.
  void products(View<const T, 2> x, View<T, 2> out, const Context& ctx = Context{}) const {
    scores_.products(x, out, ctx);
  }

  /// out [N, D] = codes of ids [N].
  void decode(View<const std::int32_t, 1> ids, View<T, 2> out) const {
    for_each_code(ids, out, [](T code, T) { return code; });
  }
  /// out += codes of ids.
  void add(View<const std::int32_t, 1> ids, View<T, 2> out) const {
    for_each_code(ids, out, [](T code, T x) { return x + code; });
  }
  /// out -= codes of ids.
  void subtract(View<const std::int32_t, 1> ids, View<T, 2> out) const {
    for_each_code(ids, out, [](T code, T x) { return x - code; });
  }

 private:
  template <class F>
  void for_each_code(const View<const std::int32_t, 1>& ids, const View<T, 2>& out, F f) const {
    require(out.extent(0) == ids.extent(0) && out.extent(1) == dim(), "decode: ", ids.extent(0),
            " codes of ", dim(), " channels do not make ", out);
    for (Index n = 0; n < ids.extent(0); ++n)
      require(ids(n) >= 0 && ids(n) < size(), "decode: code ", ids(n), " of a codebook of ",
              size());
    for (Index n = 0; n < ids.extent(0); ++n) {
      const T* code = &codes_(ids(n), 0);
      for (Index d = 0; d < dim(); ++d) out(n, d) = f(code[d], out(n, d));
    }
  }

  detail::CodeScores<T, A> scores_;
  Tensor<T, 2> codes_;
};

template <class T = float, class A = DefaultArch>
class ResidualQuantizer {
 public:
  /// codebooks [L, K, D], one per stage.
  explicit ResidualQuantizer(View<const T, 3> codebooks) {
    require(codebooks.extent(0) >= 1, "ResidualQuantizer: codebooks are ", codebooks,
            ", wanted one stage at least");
    for (Index l = 0; l < codebooks.extent(0); ++l) stages_.emplace_back(codebooks.select(0, l));
  }

  Index stages() const noexcept { return static_cast<Index>(stages_.size()); }
  Index dim() const noexcept { return stages_[0].dim(); }

  /// ids [N, L] of x [N, D], and what is left of x, which may be x itself.
  void encode(View<const T, 2> x, View<std::int32_t, 2> ids, View<T, 2> residual,
              const Context& ctx = Context{}) const {
    require(ids.extent(0) == x.extent(0) && ids.extent(1) == stages(), "encode: x is ", x, ", ids ",
            ids, ", there are ", stages(), " stages");
    require(residual.shape() == x.shape(), "encode: x is ", x, ", residual ", residual);
    for (Index n = 0; n < x.extent(0); ++n)
      for (Index d = 0; d < x.extent(1); ++d) residual(n, d) = x(n, d);
    for (Index l = 0; l < stages(); ++l) {
      const auto& stage = stages_[static_cast<std::size_t>(l)];
      stage.encode(residual, ids.select(1, l), ctx);
      stage.subtract(ids.select(1, l), residual);
    }
  }

  /// The same without the residual.
  void encode(View<const T, 2> x, View<std::int32_t, 2> ids, const Context& ctx = Context{}) const {
    const Arena::Frame frame(ctx.arena());
    const View<T, 2> residual(ctx.arena().template take<T>(x.size()), x.shape());
    encode(x, ids, residual, ctx);
  }

  /// out [N, D] = the sum of the codes of all stages.
  void decode(View<const std::int32_t, 2> ids, View<T, 2> out) const {
    require(ids.extent(1) == stages(), "decode: ids are ", ids, ", there are ", stages(),
            " stages");
    stages_[0].decode(ids.select(1, 0), out);
    for (Index l = 1; l < stages(); ++l)
      stages_[static_cast<std::size_t>(l)].add(ids.select(1, l), out);
  }

 private:
  std::vector<VectorQuantizer<T, A>> stages_;
};

}  // namespace weft::quant
