#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Combiner and FIT in double precision and plain loops, by their definitions, one head at a time:
/// truth of kernelized/combiner and kernelized/fit.
namespace reference {

using Tokens = std::vector<std::vector<double>>;
using Span = std::vector<std::size_t>;

inline double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// softmax(logits) values.
inline std::vector<double> attended(const std::vector<double>& logits, const Tokens& values) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> out(values.front().size(), 0.0);
  double sum = 0;
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const double weight = std::exp(logits[j] - top);
    sum += weight;
    for (std::size_t e = 0; e < out.size(); ++e) out[e] += weight * values[j][e];
  }
  for (double& x : out) x /= sum;
  return out;
}

/// The tokens of a span with their logits for the query q.
inline std::vector<double> within(const Span& span, const std::vector<double>& q, const Tokens& k,
                                  const Tokens& v, double scale) {
  std::vector<double> logits;
  Tokens values;
  for (const std::size_t j : span) {
    logits.push_back(scale * product(q, k[j]));
    values.push_back(v[j]);
  }
  return attended(logits, values);
}

inline std::vector<double> largest(const Span& span, const Tokens& x) {
  std::vector<double> top = x[span.front()];
  for (const std::size_t j : span)
    for (std::size_t d = 0; d < top.size(); ++d) top[d] = std::max(top[d], x[j][d]);
  return top;
}

struct CombinerInputs {
  Tokens q, k, v;
  std::size_t W;
  double scale;
};

/// One token: those it attends to, and its spans; spans without tokens are left out.
inline std::vector<double> combined(const CombinerInputs& in, std::size_t i, const Span& direct,
                                    const std::vector<Span>& spans) {
  std::vector<double> logits;
  Tokens values;
  for (const std::size_t j : direct) {
    logits.push_back(in.scale * product(in.q[i], in.k[j]));
    values.push_back(in.v[j]);
  }
  for (const Span& span : spans) {
    if (span.empty()) continue;
    logits.push_back(in.scale * product(in.q[i], largest(span, in.k)));
    values.push_back(within(span, largest(span, in.q), in.k, in.v, in.scale));
  }
  return attended(logits, values);
}

/// The tokens begin, begin + step, ... before end.
inline Span range(std::size_t begin, std::size_t end, std::size_t step = 1) {
  Span span;
  for (std::size_t j = begin; j < end; j += step) span.push_back(j);
  return span;
}

inline Tokens combiner_fixed(const CombinerInputs& in, bool causal) {
  Tokens out;
  for (std::size_t i = 0; i < in.q.size(); ++i) {
    const std::size_t row = i / in.W, first = row * in.W;
    std::vector<Span> spans;
    for (std::size_t r = 0; r < (causal ? row : in.q.size() / in.W); ++r)
      spans.push_back(range(r * in.W, (r + 1) * in.W));
    out.push_back(combined(in, i, range(first, causal ? i + 1 : first + in.W), spans));
  }
  return out;
}

inline Tokens combiner_log_sparse(const CombinerInputs& in) {
  Tokens out;
  for (std::size_t i = 0; i < in.q.size(); ++i) {
    std::vector<Span> spans;
    for (std::size_t l = 0; (i >> l) != 0; ++l)
      if ((i >> l) % 2 == 1) spans.push_back(range(((i >> l) - 1) << l, (i >> l) << l));
    out.push_back(combined(in, i, {i}, spans));
  }
  return out;
}

inline Tokens combiner_axial(const CombinerInputs& in, const Tokens& row_keys) {
  Tokens out;
  for (std::size_t i = 0; i < in.q.size(); ++i) {
    const std::size_t first = i / in.W * in.W;
    std::vector<double> logits;
    Tokens values;
    for (std::size_t j = first; j <= i; ++j) {
      logits.push_back(in.scale * product(in.q[i], in.k[j]));
      values.push_back(in.v[j]);
    }
    for (std::size_t j = i % in.W; j < first; j += in.W) {
      const Span row = range(j / in.W * in.W, (j / in.W + 1) * in.W);
      logits.push_back(in.scale * product(in.q[i], row_keys[j]));
      values.push_back(within(row, in.q[j], in.k, in.v, in.scale));
    }
    out.push_back(attended(logits, values));
  }
  return out;
}

inline Tokens combiner_mixture(const CombinerInputs& in, bool row_spans) {
  Tokens out;
  for (std::size_t i = 0; i < in.q.size(); ++i) {
    const std::size_t row = i / in.W, column = i % in.W, first = row * in.W;
    Span direct = range(column, first, in.W);
    for (std::size_t j = first; j <= i; ++j) direct.push_back(j);
    std::vector<Span> spans;
    for (std::size_t c = 0; c < in.W; ++c)
      if (c != column) spans.push_back(range(c, first, in.W));
    for (std::size_t r = 0; row_spans && r < row; ++r) {
      spans.push_back(range(r * in.W, r * in.W + column));
      spans.push_back(range(r * in.W + column + 1, (r + 1) * in.W));
    }
    out.push_back(combined(in, i, direct, spans));
  }
  return out;
}

// --- FIT

/// x += attention of x to those tokens of y that `sees(i, j)` names; scale 1 / sqrt(D).
template <class F>
Tokens with_attention(const Tokens& x, const Tokens& y, F sees) {
  Tokens out = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    Span span;
    for (std::size_t j = 0; j < y.size(); ++j)
      if (sees(i, j)) span.push_back(j);
    const auto scale = 1 / std::sqrt(static_cast<double>(x[i].size()));
    const auto update = within(span, x[i], y, y, scale);
    for (std::size_t d = 0; d < update.size(); ++d) out[i][d] += update[d];
  }
  return out;
}

/// One block of one sequence: x [T n][D], z [T m][D]; both are replaced.
inline void fit_block(Tokens& x, Tokens& z, std::size_t groups, bool causal) {
  const std::size_t n = x.size() / groups, m = z.size() / groups;
  x = with_attention(
      x, x, [&](std::size_t i, std::size_t j) { return i / n == j / n && (!causal || j <= i); });
  z = with_attention(z, x, [&](std::size_t i, std::size_t j) { return i / m == j / n; });
  z = with_attention(z, z, [&](std::size_t i, std::size_t j) { return !causal || j / m <= i / m; });
  Tokens read = z;
  for (std::size_t j = 0; causal && j < z.size(); ++j)
    read[j] = j < m ? std::vector<double>(z[j].size(), 0.0) : z[j - m];
  x = with_attention(x, read, [&](std::size_t i, std::size_t j) { return i / n == j / m; });
}

}  // namespace reference
