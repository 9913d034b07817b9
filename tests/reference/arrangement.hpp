#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

/// Mechanisms around attention in double precision and plain loops: truth of
/// softmax/styleswin_double_attention, softmax/theme_gated_parallel,
/// softmax/efficienttam_cross_attention, softmax/contracon_reweight, softmax/cif_predictor,
/// softmax/tensor_attention; softmax/vqt_prefix and softmax/ssa_subset are reference::attention of
/// other keys.
namespace reference {

/// Softmax of some logits times rows of values [n, E].
inline std::vector<double> weighted_mean(const std::vector<double>& logits,
                                         const std::vector<std::vector<double>>& values) {
  double sum = 0;
  std::vector<double> out(values.front().size(), 0.0);
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const double weight = std::exp(logits[j]);
    sum += weight;
    for (std::size_t e = 0; e < out.size(); ++e) out[e] += weight * values[j][e];
  }
  for (double& x : out) x /= sum;
  return out;
}

// --- StyleSwin

struct StyleSwinSizes {
  std::size_t R, columns, C, heads, w;
};

/// One image: q, k, v [R, columns, C]; tables [(2 w - 1)^2, heads / 2] -> [R, columns, C]. Token by
/// token: its window and its region, both in the rolled map for the second half of the heads.
inline std::vector<double> styleswin(const StyleSwinSizes& s, const std::vector<double>& q,
                                     const std::vector<double>& k, const std::vector<double>& v,
                                     const std::array<std::vector<double>, 2>& tables) {
  const std::size_t D = s.C / s.heads, half = s.heads / 2;
  const std::size_t side = std::min(s.R, s.columns), w = std::min(s.w, side);
  const std::size_t roll = side <= s.w ? 0 : w / 2;
  std::vector<double> out(q.size());
  for (std::size_t h = 0; h < s.heads; ++h) {
    const std::size_t shift = h < half ? 0 : roll;
    const auto place = [&](std::size_t at, std::size_t length) {
      return (at + length - shift) % length;  // in the rolled map
    };
    const auto band = [&](std::size_t at, std::size_t length) {
      return at < length - w ? 0 : at < length - shift ? 1 : 2;
    };
    for (std::size_t i = 0; i < s.R * s.columns; ++i) {
      const std::size_t yi = place(i / s.columns, s.R), xi = place(i % s.columns, s.columns);
      std::vector<double> logits;
      std::vector<std::vector<double>> values;
      for (std::size_t j = 0; j < s.R * s.columns; ++j) {
        const std::size_t yj = place(j / s.columns, s.R), xj = place(j % s.columns, s.columns);
        if (yi / w != yj / w || xi / w != xj / w) continue;
        double dot = 0;
        for (std::size_t d = 0; d < D; ++d) dot += q[i * s.C + h * D + d] * k[j * s.C + h * D + d];
        const std::size_t offset = (yi + w - 1 - yj) * (2 * w - 1) + xi + w - 1 - xj;
        double logit = dot / std::sqrt(static_cast<double>(D));
        logit += tables[h < half ? 0 : 1][offset * half + h % half];
        const bool together =
            band(yi, s.R) == band(yj, s.R) && band(xi, s.columns) == band(xj, s.columns);
        if (shift != 0 && !together) logit -= 100;
        logits.push_back(logit);
        values.emplace_back(v.begin() + static_cast<std::ptrdiff_t>(j * s.C + h * D),
                            v.begin() + static_cast<std::ptrdiff_t>(j * s.C + (h + 1) * D));
      }
      const auto mean = weighted_mean(logits, values);
      for (std::size_t d = 0; d < D; ++d) out[i * s.C + h * D + d] = mean[d];
    }
  }
  return out;
}

// --- Theme Transformer

/// One token: LN(x + (self (1 - g if exclusive else 1) + g cross) / 2), weight 1 and bias 0.
inline std::vector<double> gated_parallel(const std::vector<double>& x,
                                          const std::vector<double>& self,
                                          const std::vector<double>& cross, bool g, bool exclusive,
                                          double eps) {
  std::vector<double> y;
  for (std::size_t c = 0; c < x.size(); ++c) {
    const double own = g && exclusive ? 0.0 : self[c], other = g ? cross[c] : 0.0;
    y.push_back(x[c] + (own + other) / 2);
  }
  const auto n = static_cast<double>(y.size());
  double mean = 0, variance = 0;
  for (const double a : y) mean += a / n;
  for (const double a : y) variance += (a - mean) * (a - mean) / n;
  for (double& a : y) a = (a - mean) / std::sqrt(variance + eps);
  return y;
}

// --- EfficientTAM

/// Means of the 2 x 2 cells of `frames` frames of g x g tokens, x [frames g g + P, D], and the P
/// pointers as they are.
inline std::vector<double> pool(const std::vector<double>& x, std::size_t g, std::size_t frames,
                                std::size_t D) {
  std::vector<double> out;
  for (std::size_t f = 0; f < frames; ++f)
    for (std::size_t y = 0; y < g; y += 2)
      for (std::size_t c = 0; c < g; c += 2)
        for (std::size_t d = 0; d < D; ++d) {
          double sum = 0;
          for (std::size_t i = 0; i < 4; ++i)
            sum += x[((f * g + y + i / 2) * g + c + i % 2) * D + d];
          out.push_back(sum / 4);
        }
  out.insert(out.end(), x.begin() + static_cast<std::ptrdiff_t>(frames * g * g * D), x.end());
  return out;
}

// --- ConTraCon

/// conv(W) + bias + sigma(skip) W of one head, W [rows, columns], kernel [k, k]
inline std::vector<double> conv_reweight(const std::vector<double>& weight, std::size_t columns,
                                         const std::vector<double>& kernel, std::size_t k,
                                         double bias, double skip, std::size_t dilation) {
  const auto n = static_cast<std::ptrdiff_t>(columns);
  const auto m = static_cast<std::ptrdiff_t>(weight.size()) / n;
  const auto size = static_cast<std::ptrdiff_t>(k), step = static_cast<std::ptrdiff_t>(dilation);
  std::vector<double> out;
  for (std::ptrdiff_t r = 0; r < m; ++r)
    for (std::ptrdiff_t c = 0; c < n; ++c) {
      double sum = bias + weight[static_cast<std::size_t>(r * n + c)] / (1 + std::exp(-skip));
      for (std::ptrdiff_t i = 0; i < size; ++i)
        for (std::ptrdiff_t j = 0; j < size; ++j) {
          const std::ptrdiff_t y = r + (i - size / 2) * step, x = c + (j - size / 2) * step;
          if (y < 0 || y >= m || x < 0 || x >= n) continue;
          sum += kernel[static_cast<std::size_t>(i * size + j)] *
                 weight[static_cast<std::size_t>(y * n + x)];
        }
      out.push_back(sum);
    }
  return out;
}

// --- CIF

/// What fires of frames h [T, C] with weights alpha [T], by prefix sums: the token n takes of frame
/// t what lies between n and n + 1 of the running sum. For weights of at most 1.
inline std::vector<double> integrate_and_fire(const std::vector<double>& h,
                                              const std::vector<double>& alpha, std::size_t C) {
  double total = 0;
  for (const double a : alpha) total += a;
  const auto tokens = static_cast<std::size_t>(std::floor(total));
  std::vector<double> out(tokens * C, 0.0);
  for (std::size_t n = 0; n < tokens; ++n) {
    double before = 0;
    for (std::size_t t = 0; t < alpha.size(); ++t) {
      const double after = before + alpha[t], low = static_cast<double>(n);
      const double share = std::min(after, low + 1) - std::max(before, low);
      for (std::size_t c = 0; c < C && share > 0; ++c) out[n * C + c] += share * h[t * C + c];
      before = after;
    }
  }
  return out;
}

// --- Tensor attention

struct TensorSizes {
  std::size_t N, N1, N2, D, E;
};

/// One head: out [N, E] and lse [N]; `degree` < 0 for the exponential itself, else its Taylor
/// polynomial, for which lse stays empty.
inline std::vector<double> tensor_attention(const TensorSizes& s, const std::vector<double>& q,
                                            const std::vector<double>& k1,
                                            const std::vector<double>& k2,
                                            const std::vector<double>& v1,
                                            const std::vector<double>& v2, double scale, int degree,
                                            std::vector<double>& lse) {
  std::vector<double> out(s.N * s.E, 0.0);
  for (std::size_t i = 0; i < s.N; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < s.N1; ++j)
      for (std::size_t k = 0; k < s.N2; ++k) {
        double x = 0, weight = 1, term = 1;
        for (std::size_t d = 0; d < s.D; ++d)
          x += scale * q[i * s.D + d] * k1[j * s.D + d] * k2[k * s.D + d];
        if (degree < 0) weight = std::exp(x);
        for (int g = 1; g <= degree; ++g) weight += term *= x / g;
        sum += weight;
        for (std::size_t e = 0; e < s.E; ++e)
          out[i * s.E + e] += weight * v1[j * s.E + e] * v2[k * s.E + e];
      }
    for (std::size_t e = 0; e < s.E && sum != 0; ++e) out[i * s.E + e] /= sum;
    if (degree < 0) lse.push_back(std::log(sum));
  }
  return out;
}

}  // namespace reference
