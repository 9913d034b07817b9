#pragma once

#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>

#include <cmath>
#include <limits>

namespace weft {

/// Fixed sinusoidal positions (Attention Is All You Need, arXiv:1706.03762).
///
/// A position p is described by D channels, sine and cosine of D / 2 frequencies w_c:
///   interleaved     P[p, 2c] = sin(p w_c),  P[p, 2c + 1] = cos(p w_c)     (the paper)
///   concatenated    P[p, c] = sin(p w_c),  P[p, D/2 + c] = cos(p w_c)     (Tensor2Tensor)
/// with
///   open            w_c = base^(-2c / D)               (the paper)
///   closed          w_c = base^(-c / (D/2 - 1))        (Tensor2Tensor: the last is 1 / base)
/// Transformer-XL (arXiv:1901.02860) uses concatenated and open.
struct Sinusoids {
  enum class Layout { interleaved, concatenated };
  enum class Spacing { open, closed };

  Layout layout = Layout::interleaved;
  Spacing spacing = Spacing::open;
  double base = 10000.0;  ///< longest wavelength is about 2 pi base; > 0
};

/// The frequency w_c of a pair of channels, in radians per position.
inline double sinusoid_frequency(const Sinusoids& s, Index pair, Index channels) noexcept {
  const Index last = channels / 2 - 1;
  const double closed = last > 0 ? static_cast<double>(pair) / static_cast<double>(last) : 0.0;
  const double open = 2.0 * static_cast<double>(pair) / static_cast<double>(channels);
  return std::pow(s.base, -(s.spacing == Sinusoids::Spacing::closed ? closed : open));
}

/// Writes the positions first, first + 1, ... into out [N, D]; an odd last channel becomes zero.
/// Angles are computed in double. Throws when base is not positive. Time O(N D).
template <ViewLike<2> Out>
void sinusoidal_positions(const Sinusoids& s, Out&& out_like, Index first = 0) {
  const auto out = view_of(out_like);
  using T = typename decltype(out)::value_type;
  require(s.base > 0 && s.base < std::numeric_limits<double>::infinity(),
          "sinusoidal_positions: base is ", s.base, ", wanted a positive number");
  const Index channels = out.extent(1), pairs = channels / 2;
  const bool interleaved = s.layout == Sinusoids::Layout::interleaved;
  for (Index c = 0; c < pairs; ++c) {
    const double frequency = sinusoid_frequency(s, c, channels);
    const Index sine = interleaved ? 2 * c : c;
    const Index cosine = interleaved ? 2 * c + 1 : pairs + c;
    for (Index n = 0; n < out.extent(0); ++n) {
      const double angle = static_cast<double>(first + n) * frequency;
      out(n, sine) = static_cast<T>(static_cast<Accumulator<T>>(std::sin(angle)));
      out(n, cosine) = static_cast<T>(static_cast<Accumulator<T>>(std::cos(angle)));
    }
  }
  if (channels % 2 == 0) return;
  for (Index n = 0; n < out.extent(0); ++n) out(n, channels - 1) = static_cast<T>(0.f);
}

}  // namespace weft
