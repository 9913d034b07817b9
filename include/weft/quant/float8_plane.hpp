#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/float_codes.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace weft::quant {

/// Keys or values of a fixed number of tokens as E4M3 numbers times a scale of their token and
/// head, max |x| / 448, row by row. NaN and infinity make NaN of their row.
class Float8Plane {
 public:
  Float8Plane() = default;
  Float8Plane(Index batch, Index heads, Index tokens, Index dim)
      : codes_({batch, heads, tokens, dim}), scale_({batch, heads, tokens}) {}

  Index dim() const noexcept { return codes_.extent(3); }
  Index bytes() const noexcept { return codes_.size() + 4 * scale_.size(); }
  std::uint8_t code(Index b, Index h, Index t, Index d) const noexcept {
    return codes_(b, h, t, d);
  }
  float scale(Index b, Index h, Index t) const noexcept { return scale_(b, h, t); }

  /// Tokens [t, t + n) from rows `step` apart.
  void put(Index b, Index h, Index t, Index n, const float* rows, Index step) noexcept {
    for (Index i = 0; i < n; ++i, rows += step) {
      float most = 0;
      bool finite = true;
      for (Index d = 0; d < dim(); ++d) {
        finite = finite && std::isfinite(rows[d]);
        most = std::max(most, std::abs(rows[d]));
      }
      const float scale = most == 0 ? 1.f : most / static_cast<float>(kE4M3.max());
      scale_(b, h, t + i) = finite ? scale : std::numeric_limits<float>::quiet_NaN();
      for (Index d = 0; d < dim(); ++d)
        codes_(b, h, t + i, d) =
            finite ? static_cast<std::uint8_t>(kE4M3.encode(rows[d] / scale)) : std::uint8_t{0};
    }
  }

  /// Rows [t, t + n) as floats, `ld` apart and zero behind their channels.
  template <class A>
  void read(Index b, Index h, Index t, Index n, float* to, Index ld) const noexcept {
    using V = Vec<float, A>;
    constexpr Index W = kWidth<float, A>;
    for (Index i = 0; i < n; ++i, to += ld) {
      const V scale(scale_(b, h, t + i));
      const std::uint8_t* row = codes_.view().pointer(b, h, t + i);
      Index d = 0;
      for (; d + W <= dim(); d += W) store<A>(to + d, load_codes<kE4M3, A>(row + d) * scale);
      if (d < dim()) {
        store_partial<A>(to + d, load_codes_partial<kE4M3, A>(row + d, dim() - d) * scale,
                         dim() - d);
        std::fill(to + dim(), to + ld, 0.f);
      }
    }
  }

 private:
  Tensor<std::uint8_t, 4> codes_;  ///< [B, Hk, tokens, channels]
  Tensor<float, 3> scale_;         ///< [B, Hk, tokens]
};

}  // namespace weft::quant
