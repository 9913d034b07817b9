#pragma once

#include "sentence_encoder/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

/// The sentence encoder in double precision and plain loops, as examples/sentence_encoder/model.hpp
/// defines it; shares nothing with it but the weights.
namespace reference {

using Row = std::vector<double>;
using Rows = std::vector<Row>;
using sentence_encoder::Matrix;
using sentence_encoder::Vector;

/// x W + b for x [n, K], W [K, D], b [D].
inline Rows dense(const Rows& x, const Matrix& w, const Vector& b) {
  Rows y(x.size(), Row(static_cast<std::size_t>(w.extent(1))));
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < y[i].size(); ++j) {
      y[i][j] = static_cast<double>(b(j));
      for (std::size_t k = 0; k < x[i].size(); ++k) {
        y[i][j] += x[i][k] * static_cast<double>(w(k, j));
      }
    }
  }
  return y;
}

inline Rows sum(Rows x, const Rows& y) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < x[i].size(); ++j) x[i][j] += y[i][j];
  }
  return x;
}

inline Rows layer_norm(Rows x, const Vector& scale, const Vector& bias, double epsilon) {
  for (Row& row : x) {
    const double n = static_cast<double>(row.size());
    double mean = 0, variance = 0;
    for (double v : row) mean += v / n;
    for (double v : row) variance += (v - mean) * (v - mean) / n;
    for (std::size_t j = 0; j < row.size(); ++j) {
      row[j] = (row[j] - mean) / std::sqrt(variance + epsilon) * static_cast<double>(scale(j)) +
               static_cast<double>(bias(j));
    }
  }
  return x;
}

/// qkv [n, 3 I]: queries, keys, values of all heads side by side. Returns [n, I].
inline Rows attention(const Rows& qkv, std::size_t heads) {
  const std::size_t n = qkv.size(), width = qkv[0].size() / 3, channels = width / heads;
  Rows out(n, Row(width));
  for (std::size_t h = 0; h < heads; ++h) {
    const std::size_t q = h * channels, k = width + q, v = width + k;
    for (std::size_t i = 0; i < n; ++i) {
      Row weight(n);
      double total = 0;
      for (std::size_t j = 0; j < n; ++j) {
        double logit = 0;
        for (std::size_t c = 0; c < channels; ++c) logit += qkv[i][q + c] * qkv[j][k + c];
        total += weight[j] = std::exp(logit / std::sqrt(static_cast<double>(channels)));
      }
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t c = 0; c < channels; ++c) {
          out[i][q + c] += weight[j] / total * qkv[j][v + c];
        }
      }
    }
  }
  return out;
}

inline Rows positions(std::size_t n, std::size_t width) {
  Rows p(n, Row(width));
  const std::size_t half = width / 2;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < half; ++c) {
      const double angle = static_cast<double>(i) *
                           std::pow(1e4, -static_cast<double>(c) / static_cast<double>(half - 1));
      p[i][c] = std::sin(angle);
      p[i][half + c] = std::cos(angle);
    }
  }
  return p;
}

inline Row sentence_embedding(const sentence_encoder::Weights& w, std::vector<std::int32_t> ids) {
  ids.resize(std::min(ids.size(), static_cast<std::size_t>(w.max_tokens)));
  Rows x(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (weft::Index c = 0; c < w.embedding.extent(1); ++c) {
      x[i].push_back(2.0 * static_cast<double>(w.embedding(ids[i], c)));
    }
  }
  x = sum(x, positions(x.size(), x[0].size()));

  const auto epsilon = static_cast<double>(w.norm_epsilon);
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    const auto& layer = w.layers[l];
    const Rows residual = l == 0 ? dense(x, w.residual, w.residual_bias) : x;
    Rows y = layer_norm(x, layer.attention_norm_scale, layer.attention_norm_bias, epsilon);
    y = attention(dense(y, layer.qkv, layer.qkv_bias), static_cast<std::size_t>(w.heads));
    y = sum(dense(y, layer.attention_out, layer.attention_out_bias), residual);
    Rows hidden = layer_norm(y, layer.hidden_norm_scale, layer.hidden_norm_bias, epsilon);
    hidden = dense(hidden, layer.hidden_in, layer.hidden_in_bias);
    for (Row& row : hidden) {
      for (double& v : row) v = std::max(v, 0.0);
    }
    x = sum(dense(hidden, layer.hidden_out, layer.hidden_out_bias), y);
  }

  Rows pooled(1, Row(x[0].size()));
  for (const Row& row : x) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      pooled[0][c] += row[c] / static_cast<double>(x.size());
    }
  }
  Row out = dense(pooled, w.pooled, w.pooled_bias)[0];
  double squares = 0;
  for (double& v : out) {
    v = std::tanh(v);
    squares += v * v;
  }
  for (double& v : out) v /= std::sqrt(std::max(squares, 1e-12));
  return out;
}

}  // namespace reference
