#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// Kernelized attention in double precision and plain loops: truth of kernelized/toeplitz and
/// kernelized/relative_fft.
namespace reference {

/// y_i = sum_j c_{j - i} x_j, c [2 n - 1] with c_0 in the middle, x and y [n, channels].
inline std::vector<double> toeplitz(const std::vector<double>& c, const std::vector<double>& x,
                                    std::size_t channels) {
  const std::size_t n = (c.size() + 1) / 2;
  std::vector<double> y(n * channels, 0.0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t e = 0; e < channels; ++e)
        y[i * channels + e] += c[j + n - 1 - i] * x[j * channels + e];
  return y;
}

/// Sizes of one head: n tokens, D channels, m features, E values.
struct RelativeSizes {
  std::size_t n, D, m, E;
};

/// exp(w_r . x - |x|^2 / 2) of one token, x first divided by its length or times D^(-1/4).
inline std::vector<double> positive_random_features(const RelativeSizes& s, const double* x,
                                                    const std::vector<double>& w, bool normalize) {
  double squares = 0;
  for (std::size_t d = 0; d < s.D; ++d) squares += x[d] * x[d];
  const double factor =
      normalize ? 1 / std::sqrt(squares) : std::pow(static_cast<double>(s.D), -0.25);
  std::vector<double> phi;
  for (std::size_t r = 0; r < s.m; ++r) {
    double u = -factor * factor * squares / 2;
    for (std::size_t d = 0; d < s.D; ++d) u += w[r * s.D + d] * factor * x[d];
    phi.push_back(std::exp(u));
  }
  return phi;
}

/// One head: q, k [n, D], v [n, E], w [m, D], b [2 n - 1] -> [n, E].
inline std::vector<double> relative_kernel(const RelativeSizes& s, const std::vector<double>& q,
                                           const std::vector<double>& k,
                                           const std::vector<double>& v,
                                           const std::vector<double>& w,
                                           const std::vector<double>& b, bool causal,
                                           bool normalize) {
  std::vector<double> out(s.n * s.E, 0.0);
  for (std::size_t i = 0; i < s.n; ++i) {
    const auto phi_q = positive_random_features(s, q.data() + i * s.D, w, normalize);
    double total = 0;
    for (std::size_t j = 0; j < (causal ? i + 1 : s.n); ++j) {
      const auto phi_k = positive_random_features(s, k.data() + j * s.D, w, normalize);
      double weight = 0;
      for (std::size_t r = 0; r < s.m; ++r) weight += phi_q[r] * phi_k[r];
      weight *= std::exp(b[j + s.n - 1 - i]);
      total += weight;
      for (std::size_t e = 0; e < s.E; ++e) out[i * s.E + e] += weight * v[j * s.E + e];
    }
    for (std::size_t e = 0; e < s.E; ++e) out[i * s.E + e] /= total;
  }
  return out;
}

}  // namespace reference
