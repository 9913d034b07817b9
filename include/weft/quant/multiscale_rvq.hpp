#pragma once

#include <weft/quant/vector_quantizer.hpp>

#include <algorithm>

/// Multi-scale residual vector quantization: a sequence as tokens of growing resolution, after the
/// variational tokenizer of "3D representation in 512-Byte: Variational tokenizer is the key for
/// autoregressive 3D generation" (arXiv 2412.02202).
///
/// x [N, D], scales n_1 < ... < n_S (the last usually N), one codebook for all:
///
///   r = x;  for each scale n:
///     z_i  = mean of r[floor(i N / n) .. ceil((i + 1) N / n))             n tokens
///     id_i = nearest code of z_i
///     u    = the n codes, interpolated linearly to N tokens:
///            at p = max((i + 1/2) n / N - 1/2, 0), the last code beyond the end
///     r <- r - u,  recon <- recon + u
///
/// There is no code of the paper to compare with, and its learned resampling is left out: means and
/// interpolation are this library's choice. The ids of all scales stand one after the other. The
/// latent is the mean of the tokenizer's Gaussian; there is nothing random here.
///
/// T is float or double. Time O(sum n K D + S N D). Throws where shapes do not fit, scales do not
/// lie in [1, N], and numbers are not finite.
namespace weft::quant {

template <class T = float, class A = DefaultArch>
class MultiscaleQuantizer {
 public:
  /// codebook [K, D], scales in the order in which they are coded.
  MultiscaleQuantizer(View<const T, 2> codebook, std::vector<Index> scales)
      : codes_(codebook), scales_(std::move(scales)) {
    for (const Index n : scales_) {
      require(n >= 1, "MultiscaleQuantizer: a scale of ", n, " tokens");
      tokens_ += n;
    }
  }

  Index tokens() const noexcept { return tokens_; }  ///< of all scales
  const std::vector<Index>& scales() const noexcept { return scales_; }

  /// ids [tokens()] of x [N, D], and what is left of x, which may be x itself.
  void encode(View<const T, 2> x, View<std::int32_t, 1> ids, View<T, 2> residual,
              const Context& ctx = Context{}) const {
    check(ids, residual);
    require(x.shape() == residual.shape(), "encode: x is ", x, ", residual ", residual);
    const Index D = x.extent(1);
    for (Index t = 0; t < x.extent(0); ++t)
      for (Index d = 0; d < D; ++d) residual(t, d) = x(t, d);
    const Arena::Frame frame(ctx.arena());
    T* memory = ctx.arena().template take<T>(x.size());
    Index begin = 0;
    for (const Index n : scales_) {
      const View<T, 2> z(memory, {n, D});
      const auto of_scale = ids.slice(0, begin, n);
      pool(residual, z);
      codes_.encode(z, of_scale, ctx);
      codes_.decode(of_scale, z);
      upsample(
          z, [&](Index t, Index d, T u) { residual(t, d) -= u; }, x.extent(0));
      begin += n;
    }
  }

  /// out [N, D] of the ids of the first scales: as many as there are ids.
  void decode(View<const std::int32_t, 1> ids, View<T, 2> out) const {
    require(out.extent(1) == codes_.dim(), "decode: out is ", out, ", the codes have ",
            codes_.dim(), " channels");
    for (Index t = 0; t < out.extent(0); ++t)
      for (Index d = 0; d < out.extent(1); ++d) out(t, d) = 0;
    Index begin = 0;
    for (const Index n : scales_) {
      if (begin == ids.extent(0)) break;
      require(begin + n <= ids.extent(0), "decode: ", ids.extent(0), " ids end within a scale of ",
              n, " tokens");
      require(n <= out.extent(0), "decode: a scale of ", n, " tokens for ", out);
      Tensor<T, 2> z({n, out.extent(1)});
      codes_.decode(ids.slice(0, begin, n), z.view());
      upsample(
          View<const T, 2>(z), [&](Index t, Index d, T u) { out(t, d) += u; }, out.extent(0));
      begin += n;
    }
    require(begin == ids.extent(0), "decode: ", ids.extent(0), " ids, the scales have ", tokens_);
  }

 private:
  void check(const View<std::int32_t, 1>& ids, const View<T, 2>& x) const {
    require(x.extent(1) == codes_.dim() && ids.extent(0) == tokens_, "MultiscaleQuantizer: x is ",
            x, ", ids ", ids, "; wanted ", codes_.dim(), " channels and ", tokens_, " ids");
    for (const Index n : scales_)
      require(n <= x.extent(0), "MultiscaleQuantizer: a scale of ", n, " tokens for ", x.extent(0));
  }

  /// z [n, D]: means of neighbouring tokens of r [N, D].
  static void pool(const View<const T, 2>& r, const View<T, 2>& z) {
    const Index N = r.extent(0), n = z.extent(0);
    for (Index i = 0; i < n; ++i) {
      const Index begin = i * N / n, end = ceil_div((i + 1) * N, n);
      for (Index d = 0; d < z.extent(1); ++d) {
        T sum = 0;
        for (Index t = begin; t < end; ++t) sum += r(t, d);
        z(i, d) = sum / static_cast<T>(end - begin);
      }
    }
  }

  /// f(t, d, u) for the interpolation u of z to N tokens.
  template <class F>
  static void upsample(const View<const T, 2>& z, F f, Index N) {
    const Index n = z.extent(0);
    for (Index t = 0; t < N; ++t) {
      const double at = std::max(
          (static_cast<double>(t) + 0.5) * static_cast<double>(n) / static_cast<double>(N) - 0.5,
          0.);
      const Index low = std::min(static_cast<Index>(at), n - 1), high = std::min(low + 1, n - 1);
      const T part = static_cast<T>(at - static_cast<double>(low));
      for (Index d = 0; d < z.extent(1); ++d) f(t, d, (1 - part) * z(low, d) + part * z(high, d));
    }
  }

  VectorQuantizer<T, A> codes_;
  std::vector<Index> scales_;
  Index tokens_ = 0;
};

}  // namespace weft::quant
