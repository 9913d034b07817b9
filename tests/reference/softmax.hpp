#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

/// Softmax attention in double precision and plain loops: the truth that the library is tested
/// against. It shares no code with the library and follows the definition word by word:
///   s_ij  = scale * sum_d q_id k_jd
///   s_ij  = cap * tanh(s_ij / cap)                       with a soft-cap
///   s_ij *= factor_ij
///   s_ij += bias_ij - slope_h |i + (M - N) - j| + table[bucket(j - i - (M - N))][h]
///   LSE_i = ln sum_{visible j} exp(s_ij)
///   out_i = sum_{visible j} exp(s_ij - LSE_i) c_ij v_j              c = 1, or a factor of weights
/// A row that sees no key gives out 0 and LSE -inf.
///
/// Truth of softmax/full, softmax/causal, softmax/causal_top_left, softmax/grouped_query,
/// softmax/window, softmax/sink_tokens, softmax/bool_mask, softmax/bias, softmax/softcap,
/// softmax/sinks, softmax/off_by_one, softmax/alibi, softmax/t5_bias, softmax/elementwise_mask; and
/// of softmax/ragged, softmax/paged and softmax/merge, which must not differ from it.
namespace reference {

using Values = std::vector<double>;

/// Batch, query heads, key/value heads, queries, keys, channels of q and k, channels of v.
struct AttentionSizes {
  std::size_t B = 1, Hq = 1, Hk = 1, N = 1, M = 1, D = 1, E = 1;
};

/// Values for [B or 1, Hq or 1, N or 1, M or 1]: axes of extent 1 hold for every index.
template <class T>
struct Broadcast {
  std::vector<T> values;
  std::size_t b = 1, h = 1, n = 1, m = 1;

  T at(std::size_t ib, std::size_t ih, std::size_t in, std::size_t im) const {
    const auto clip = [](std::size_t i, std::size_t extent) { return extent == 1 ? 0 : i; };
    return values[((clip(ib, b) * h + clip(ih, h)) * n + clip(in, n)) * m + clip(im, m)];
  }
};

enum class CausalMode { none, bottom_right, top_left };

/// T5 relative position buckets.
struct T5Bias {
  Values table;  ///< [buckets, Hq]
  int buckets = 32;
  int max_distance = 128;
  bool bidirectional = true;
};

struct AttentionOptions {
  std::optional<double> scale;  ///< 1 / sqrt(D)
  double softcap = 0;           ///< 0: none
  CausalMode causal = CausalMode::none;
  std::ptrdiff_t window_left = -1;   ///< keys before the diagonal, -1: all; bottom-right aligned
  std::ptrdiff_t window_right = -1;  ///< keys after it
  std::size_t sink_tokens = 0;       ///< first keys, visible in spite of the window
  std::optional<Broadcast<double>> factor;
  std::optional<Broadcast<double>> bias;
  std::optional<Broadcast<double>> weight_factor;
  std::optional<Broadcast<std::uint8_t>> mask;  ///< 1: visible
  Values logit_sinks;                           ///< [Hq], or empty: extra logit with value 0
  Values alibi_slopes;                          ///< [Hq], or empty
  std::optional<T5Bias> t5;
  std::size_t top_k = 0;  ///< only so many of the largest logits remain, 0: all
  /// Weights of the visible logits of a row, which has M keys in all, in place of softmax.
  std::function<Values(const Values& visible, std::size_t M)> weights;
  std::optional<Broadcast<double>> gates;  ///< of output rows, [B, Hq, N, 1]
};

struct AttentionResult {
  Values out;             ///< [B, Hq, N, E]
  Values lse;             ///< [B, Hq, N], without logit sinks
  Values lse_with_sinks;  ///< [B, Hq, N]
};

/// The published slopes: powers of 2^(-8/n) for a power of two n; for other n those of the next
/// lower power of two, followed by every second one of the next higher.
inline Values alibi_slopes(std::size_t n) {
  std::size_t power = 1;
  while (2 * power <= n) power *= 2;
  Values slopes;
  for (std::size_t h = 0; h < power; ++h) {
    slopes.push_back(std::pow(2.0, -8.0 * static_cast<double>(h + 1) / static_cast<double>(power)));
  }
  for (std::size_t h = 0; slopes.size() < n; h += 2) {
    slopes.push_back(
        std::pow(2.0, -8.0 * static_cast<double>(h + 1) / static_cast<double>(2 * power)));
  }
  return slopes;
}

/// Bucket of the relative position rel = key - query.
inline int t5_bucket(std::ptrdiff_t rel, int buckets, int max_distance, bool bidirectional) {
  int first = 0;
  if (bidirectional) {
    buckets /= 2;
    if (rel > 0) first = buckets;
    rel = std::abs(rel);
  } else {
    rel = std::max<std::ptrdiff_t>(-rel, 0);
  }
  const int exact = buckets / 2;
  if (rel < exact) return first + static_cast<int>(rel);
  const double steps = std::log(static_cast<double>(rel) / exact) /
                       std::log(static_cast<double>(max_distance) / exact) * (buckets - exact);
  // 1e-9: the quotient of logarithms may land just under an integer.
  return first + std::min(buckets - 1, exact + static_cast<int>(std::floor(steps + 1e-9)));
}

/// May query i see key j? Both count from 0; the queries are the last N of the M positions.
inline bool visible(const AttentionSizes& s, const AttentionOptions& o, std::size_t b,
                    std::size_t h, std::size_t i, std::size_t j) {
  const auto key = static_cast<std::ptrdiff_t>(j);
  const auto query = static_cast<std::ptrdiff_t>(i);
  const auto diagonal = query + static_cast<std::ptrdiff_t>(s.M) - static_cast<std::ptrdiff_t>(s.N);
  if (o.mask && o.mask->at(b, h, i, j) == 0) return false;
  if (o.causal == CausalMode::bottom_right && key > diagonal) return false;
  if (o.causal == CausalMode::top_left && key > query) return false;
  const bool left = o.window_left < 0 || key >= diagonal - o.window_left;
  const bool right = o.window_right < 0 || key <= diagonal + o.window_right;
  return (left && right) || j < o.sink_tokens;
}

/// The score of one query row and one key row, before the mask.
inline double score(const AttentionSizes& s, const AttentionOptions& o, const double* q,
                    const double* k, std::size_t b, std::size_t h, std::size_t i, std::size_t j) {
  double dot = 0;
  for (std::size_t d = 0; d < s.D; ++d) dot += q[d] * k[d];
  double x = dot * o.scale.value_or(1.0 / std::sqrt(static_cast<double>(s.D)));
  if (o.softcap > 0) x = o.softcap * std::tanh(x / o.softcap);
  if (o.factor) x *= o.factor->at(b, h, i, j);
  if (o.bias) x += o.bias->at(b, h, i, j);
  const auto rel = static_cast<std::ptrdiff_t>(j + s.N) - static_cast<std::ptrdiff_t>(i + s.M);
  if (!o.alibi_slopes.empty()) x -= o.alibi_slopes[h] * static_cast<double>(std::abs(rel));
  if (o.t5) {
    const int bucket = t5_bucket(rel, o.t5->buckets, o.t5->max_distance, o.t5->bidirectional);
    x += o.t5->table[static_cast<std::size_t>(bucket) * s.Hq + h];
  }
  return x;
}

/// ln(exp(a) + exp(b)), where either may be -inf.
inline double log_add_exp(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return a + b;
  const double top = std::max(a, b);
  if (top == -std::numeric_limits<double>::infinity()) return top;
  return top + std::log(std::exp(a - top) + std::exp(b - top));
}

/// All but the k largest become -inf; of equal ones the first remain.
inline void keep_largest(Values& x, std::size_t k) {
  Values left = x;
  for (std::size_t round = 0; round < std::min(k, x.size()); ++round)
    *std::max_element(left.begin(), left.end()) = -std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < x.size(); ++j)
    if (left[j] == x[j]) x[j] = -std::numeric_limits<double>::infinity();
}

/// out = sum_j w_j v_j with weights of the logits x that are not -inf.
inline void weighted_row(const AttentionOptions& o, const Values& x, const double* v, std::size_t E,
                         double* out) {
  std::vector<std::size_t> keys;
  Values visible;
  for (std::size_t j = 0; j < x.size(); ++j) {
    if (x[j] == -std::numeric_limits<double>::infinity()) continue;
    keys.push_back(j);
    visible.push_back(x[j]);
  }
  const Values w = o.weights(visible, x.size());
  for (std::size_t n = 0; n < keys.size(); ++n) {
    for (std::size_t e = 0; e < E; ++e) out[e] += w[n] * v[keys[n] * E + e];
  }
}

/// One query row: q [D], k [M, D], v [M, E], out [E] (zero before), lse and lse_with_sink.
/// Invisible keys are not touched at all, whatever stands there.
inline void attention_row(const AttentionSizes& s, const AttentionOptions& o, const double* q,
                          const double* k, const double* v, std::size_t b, std::size_t h,
                          std::size_t i, double* out, double& lse, double& lse_with_sink) {
  constexpr double minus_infinity = -std::numeric_limits<double>::infinity();
  Values x(s.M, minus_infinity);  // [M] logits; -inf: invisible
  double top = minus_infinity;
  for (std::size_t j = 0; j < s.M; ++j) {
    if (!visible(s, o, b, h, i, j)) continue;
    x[j] = score(s, o, q, k + j * s.D, b, h, i, j);
    top = std::isnan(top) || std::isnan(x[j]) ? top + x[j] : std::max(top, x[j]);
  }
  if (o.top_k > 0) keep_largest(x, o.top_k);
  double sum = 0;
  for (std::size_t j = 0; j < s.M; ++j) {
    if (x[j] != minus_infinity) sum += std::exp(x[j] - top);
  }
  lse = sum == 0 ? minus_infinity : top + std::log(sum);
  lse_with_sink = o.logit_sinks.empty() ? lse : log_add_exp(lse, o.logit_sinks[h]);
  if (o.weights) return weighted_row(o, x, v, s.E, out);
  for (std::size_t j = 0; j < s.M; ++j) {
    if (x[j] == minus_infinity) continue;
    double weight = std::exp(x[j] - lse_with_sink);
    if (o.weight_factor) weight *= o.weight_factor->at(b, h, i, j);
    for (std::size_t e = 0; e < s.E; ++e) out[e] += weight * v[j * s.E + e];
  }
}

/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], row-major. Query head h reads key/value head
/// h / (Hq / Hk).
inline AttentionResult attention(const AttentionSizes& s, const Values& q, const Values& k,
                                 const Values& v, const AttentionOptions& o = {}) {
  const std::size_t rows = s.B * s.Hq * s.N;
  AttentionResult r{Values(rows * s.E, 0.0), Values(rows), Values(rows)};
  for (std::size_t b = 0; b < s.B; ++b) {
    for (std::size_t h = 0; h < s.Hq; ++h) {
      const std::size_t kv = b * s.Hk + h / (s.Hq / s.Hk);
      for (std::size_t i = 0; i < s.N; ++i) {
        const std::size_t row = (b * s.Hq + h) * s.N + i;
        attention_row(s, o, q.data() + row * s.D, k.data() + kv * s.M * s.D,
                      v.data() + kv * s.M * s.E, b, h, i, r.out.data() + row * s.E, r.lse[row],
                      r.lse_with_sinks[row]);
        for (std::size_t e = 0; o.gates && e < s.E; ++e) {
          r.out[row * s.E + e] *= o.gates->at(b, h, i, 0);
        }
      }
    }
  }
  return r;
}

}  // namespace reference
