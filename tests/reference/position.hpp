#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

/// Position encodings in double precision and plain loops: truth of softmax/rope,
/// softmax/rope2d_croco, softmax/rope2d_fit, softmax/rope2d_sam2, softmax/time_rope.
namespace reference {

/// One row of D channels at a position: the pairs of the first R = 2 * frequencies.size() channels
/// are complex numbers u + iv, multiplied by magnitude * exp(i position f).
inline std::vector<double> rope(std::vector<double> row, const std::vector<double>& frequencies,
                                double position, double magnitude, bool interleaved) {
  const std::size_t pairs = frequencies.size();
  for (std::size_t i = 0; i < pairs; ++i) {
    double& u = interleaved ? row[2 * i] : row[i];
    double& v = interleaved ? row[2 * i + 1] : row[pairs + i];
    const auto turned = std::complex(u, v) * std::polar(magnitude, position * frequencies[i]);
    u = turned.real();
    v = turned.imag();
  }
  return row;
}

/// Row p of the table in "Attention Is All You Need": sine and cosine of p / 10000^(2c / D) in
/// turn.
inline std::vector<double> sinusoid(double position, std::size_t channels) {
  std::vector<double> row(channels, 0.0);
  for (std::size_t c = 0; c + 1 < channels; c += 2) {
    const double angle =
        position / std::pow(10000.0, static_cast<double>(c) / static_cast<double>(channels));
    row[c] = std::sin(angle);
    row[c + 1] = std::cos(angle);
  }
  return row;
}

}  // namespace reference
