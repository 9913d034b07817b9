#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Caches of codes in double precision and plain loops: what the numbers of a cache become, and
/// attention over them. Truth of quant/kv_int8, quant/kv_int4, quant/kv_fp8, quant/kivi and
/// quant/saq.
namespace reference {

/// Rows of tokens [T][channels].
using Rows = std::vector<std::vector<double>>;

/// The numbers of one group after coding in b bits.
///   affine     s = (max - min) / (2^b - 1),  x -> min + s rint((x - min) / s)
///   symmetric  s = max |x| / (2^(b-1) - 1),  x -> s rint(x / s)
inline std::vector<double> coded_group(const std::vector<double>& x, int bits, bool symmetric) {
  const double lo = *std::min_element(x.begin(), x.end());
  const double hi = *std::max_element(x.begin(), x.end());
  const double levels = symmetric ? std::pow(2, bits - 1) - 1 : std::pow(2, bits) - 1;
  const double s = (symmetric ? std::max(std::abs(lo), std::abs(hi)) : hi - lo) / levels;
  const double origin = symmetric ? 0 : lo;
  std::vector<double> y;
  for (const double v : x) y.push_back(s == 0 ? origin : origin + s * std::rint((v - origin) / s));
  return y;
}

/// Rows [begin, end) in groups of G consecutive channels of one token (0: all channels).
inline void code_tokens(Rows& rows, std::size_t begin, std::size_t end, std::size_t G, int bits,
                        bool symmetric) {
  for (std::size_t t = begin; t < end; ++t) {
    const std::size_t D = rows[t].size(), width = G == 0 ? D : G;
    for (std::size_t d = 0; d < D; d += width) {
      const auto from = rows[t].begin() + static_cast<std::ptrdiff_t>(d);
      const auto coded =
          coded_group({from, from + static_cast<std::ptrdiff_t>(width)}, bits, symmetric);
      std::copy(coded.begin(), coded.end(), from);
    }
  }
}

/// The nearest number of E4M3: 3 bits behind the first, exponents from -6 to 8, at most 448.
inline double e4m3(double x) {
  if (x == 0) return 0;
  const double step = std::exp2(std::max(std::floor(std::log2(std::abs(x))), -6.0) - 3);
  return std::clamp(std::rint(x / step) * step, -448.0, 448.0);
}

/// Rows as E4M3 numbers times max |x| / 448 of each.
inline void code_e4m3(Rows& rows) {
  for (auto& row : rows) {
    double most = 0;
    for (const double x : row) most = std::max(most, std::abs(x));
    const double s = most == 0 ? 1 : most / 448;
    for (double& x : row) x = s * e4m3(x / s);
  }
}

/// Rows [begin, end) in groups of G consecutive tokens of one channel.
inline void code_channels(Rows& rows, std::size_t begin, std::size_t end, std::size_t G, int bits) {
  for (std::size_t t = begin; t < end; t += G)
    for (std::size_t d = 0; d < rows[t].size(); ++d) {
      std::vector<double> group;
      for (std::size_t i = 0; i < G; ++i) group.push_back(rows[t + i][d]);
      group = coded_group(group, bits, false);
      for (std::size_t i = 0; i < G; ++i) rows[t + i][d] = group[i];
    }
}

/// What KIVI has of T keys, or values: all but the last T mod R keys, or R values, are coded.
inline Rows kivi_keys(Rows keys, std::size_t G, std::size_t R, int bits) {
  code_channels(keys, 0, keys.size() - keys.size() % R, G, bits);
  return keys;
}
inline Rows kivi_values(Rows values, std::size_t G, std::size_t R, int bits) {
  code_tokens(values, 0, values.size() > R ? values.size() - R : 0, G, bits, false);
  return values;
}

/// What SAQ has of T rows: the youngest whole chunk of S has bits[0], the one before bits[1] made
/// from what bits[0] left of it, and so on down to the last of them.
template <class Code>
Rows saq_rows(Rows rows, std::size_t S, const std::vector<int>& bits, const Code& code) {
  const std::size_t chunks = rows.size() / S;
  for (std::size_t c = 0; c < chunks; ++c)
    for (std::size_t age = 0; age < std::min(chunks - c, bits.size()); ++age)
      code(rows, c * S, (c + 1) * S, bits[age]);
  return rows;
}

/// out = sum_j softmax_j(scale q . k_j) v_j of one query.
inline std::vector<double> attention_over(const std::vector<double>& q, const Rows& keys,
                                          const Rows& values, double scale) {
  std::vector<double> s;
  for (const auto& k : keys) {
    double dot = 0;
    for (std::size_t d = 0; d < q.size(); ++d) dot += q[d] * k[d];
    s.push_back(scale * dot);
  }
  const double top = *std::max_element(s.begin(), s.end());
  double sum = 0;
  std::vector<double> out(values.front().size(), 0.0);
  for (std::size_t j = 0; j < s.size(); ++j) {
    const double p = std::exp(s[j] - top);
    sum += p;
    for (std::size_t e = 0; e < out.size(); ++e) out[e] += p * values[j][e];
  }
  for (double& o : out) o /= sum;
  return out;
}

}  // namespace reference
