#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

/// Linear attention in double precision, token by token as its recurrence is written, or as sums
/// over all pairs. Shares no code with the library.
///
///   S <- diag(a_t) S,  u_t = w_t v_t  or  beta_t (v_t - S^T k_t),  S <- S + k_t u_t^T
///   z <- diag(a_t) z + k_t
///   out_t = scale S^T q_t * factor(scale z . q_t, tokens so far)
///
/// q and k are features already. One head of one sequence; see LinearAnswer for many.
///
/// Truth of linear/linear_transformer, linear/simple_gla, linear/gla, linear/retention,
/// delta/delta_net, delta/gated_delta_net, delta/channel_gated_delta_net, delta/mom.
namespace reference {

using Rows = std::vector<std::vector<double>>;

struct LinearOptions {
  double scale = 1;
  Rows log_decay;               ///< [N][F], [N][1], or empty: none
  std::vector<double> weights;  ///< [N], or empty: ones
  bool delta = false;
  std::function<double(double den, std::size_t keys)> factor;  ///< empty: 1
  Rows s;                                                      ///< initial state [F][E], or empty
  std::vector<double> z;
  std::size_t position = 0;
};

struct LinearResult {
  Rows out, s;
  std::vector<double> z;
};

inline LinearResult recurrence(const Rows& q, const Rows& k, const Rows& v, std::size_t features,
                               std::size_t value_dim, const LinearOptions& o) {
  LinearResult r{{}, o.s, o.z};
  if (r.s.empty()) r.s.assign(features, std::vector<double>(value_dim, 0.0));
  if (r.z.empty()) r.z.assign(features, 0.0);
  for (std::size_t t = 0; t < q.size(); ++t) {
    for (std::size_t f = 0; f < features && !o.log_decay.empty(); ++f) {
      const auto& logs = o.log_decay[t];
      const double a = std::exp(logs.size() == 1 ? logs[0] : logs[f]);
      for (double& s : r.s[f]) s *= a;
      r.z[f] *= a;
    }
    const double w = o.weights.empty() ? 1 : o.weights[t];
    std::vector<double> out(value_dim, 0.0);
    double den = 0;
    for (std::size_t e = 0; e < value_dim; ++e) {
      double read = 0;
      for (std::size_t f = 0; f < features && o.delta; ++f) read += r.s[f][e] * k[t][f];
      const double u = w * (v[t][e] - read);
      for (std::size_t f = 0; f < features; ++f) {
        r.s[f][e] += k[t][f] * u;
        out[e] += o.scale * r.s[f][e] * q[t][f];
      }
    }
    for (std::size_t f = 0; f < features; ++f) {
      r.z[f] += k[t][f];
      den += o.scale * r.z[f] * q[t][f];
    }
    if (o.factor)
      for (double& x : out) x *= o.factor(den, o.position + t + 1);
    r.out.push_back(out);
  }
  return r;
}

/// Without an order: out_i = scale sum_j (q_i . k_j) w_j v_j, over all keys.
inline Rows all_pairs(const Rows& q, const Rows& k, const Rows& v, std::size_t value_dim,
                      const LinearOptions& o) {
  Rows out;
  for (const auto& qi : q) {
    std::vector<double> row(value_dim, 0.0);
    double den = 0;
    for (std::size_t j = 0; j < k.size(); ++j) {
      double weight = 0;
      for (std::size_t f = 0; f < qi.size(); ++f) weight += o.scale * qi[f] * k[j][f];
      den += weight;
      for (std::size_t e = 0; e < value_dim; ++e)
        row[e] += weight * (o.weights.empty() ? 1 : o.weights[j]) * v[j][e];
    }
    if (o.factor)
      for (double& x : row) x *= o.factor(den, k.size());
    out.push_back(row);
  }
  return out;
}

}  // namespace reference
