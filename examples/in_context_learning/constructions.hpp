#pragma once

#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/interop/eigen.hpp>

#include <Eigen/Cholesky>

#include <cmath>

/// Weights, published rather than trained, with which attention learns from its context. The task
/// is linear regression: pairs (x_i, y_i), i < n, are given, and y_q is asked for x_q. Tokens are
/// rows (x, y).
namespace icl {

using weft::Index;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// out = scale (q k^T) v: weft's attention with its logits for weights.
inline Matrix linear_attention(const Matrix& q, const Matrix& k, const Matrix& v, double scale) {
  using namespace weft;
  Matrix out(q.rows(), v.cols());
  const auto head = [](auto& matrix) { return unsqueeze(unsqueeze(view_of(matrix))); };
  forward(Softmax{NoMask{}, NoScore{}, IdentityWeights{}, scale}, head(q), head(k), head(v),
          head(out));
  return out;
}

/// A layer of linear self-attention with its residual, over the first n tokens as context:
///   e_j <- e_j + 1/n sum_i (W_PV e_i) (e_i . W_KQ e_j)
/// W_KQ = W_K^T W_Q and W_PV = P W_V are the products that matter of the usual four matrices.
struct LinearSelfAttention {
  Matrix kq, pv;

  Matrix operator()(const Matrix& tokens, Index n) const {
    const Matrix context = tokens.topRows(n);
    return tokens + linear_attention(tokens * kq.transpose(), context, context * pv.transpose(),
                                     1 / static_cast<double>(n));
  }
};

/// One layer that is one step of gradient descent on 1/2n sum |W x_i - y_i|^2 from W0 (Transformers
/// Learn In-Context by Gradient Descent, arXiv:2212.07677). It turns y into y - dW x in every
/// token, so that the query (x_q, -W0 x_q) ends with minus the prediction; and with W0 = 0 the same
/// layer again is the next step.
inline LinearSelfAttention gradient_step(const Matrix& W0, double rate) {
  const Index outputs = W0.rows(), inputs = W0.cols(), width = inputs + outputs;
  LinearSelfAttention layer{Matrix::Zero(width, width), Matrix::Zero(width, width)};
  layer.kq.topLeftCorner(inputs, inputs).setIdentity();
  layer.pv.bottomLeftCorner(outputs, inputs) = rate * W0;
  layer.pv.bottomRightCorner(outputs, outputs) = -rate * Matrix::Identity(outputs, outputs);
  return layer;
}

/// The layer that training on contexts of `length` tokens, x of covariance Lambda, ends at (Trained
/// Transformers Learn Linear Models In-Context, arXiv:2306.09927): it answers
/// x_q^T Gamma^-1 (1/n sum y_i x_i) in the last place of the query (x_q, 0), with
///   Gamma = (1 + 1 / length) Lambda + tr(Lambda) / length I
inline LinearSelfAttention global_minimum(const Matrix& lambda, double length) {
  const Index d = lambda.rows();
  const Matrix one = Matrix::Identity(d, d);
  const Matrix gamma = (1 + 1 / length) * lambda + lambda.trace() / length * one;
  const Matrix inverse = gamma.ldlt().solve(one);
  const double root = std::pow((inverse * inverse).trace(), 0.25);
  LinearSelfAttention layer{Matrix::Zero(d + 1, d + 1), Matrix::Zero(d + 1, d + 1)};
  layer.kq.topLeftCorner(d, d) = inverse / root;
  layer.pv(d, d) = root;
  return layer;
}

/// One iteration of Newton's method for (X^T X)^-1 (Transformers Learn Higher-Order Optimization
/// Methods for In-Context Learning, arXiv:2310.17086), M <- 2 M - M X^T X M: the rows of M attend
/// to the tokens X. From M = a X^T X with 0 < a < 2 / |X^T X|^2 it converges quadratically.
inline Matrix newton_step(const Matrix& M, const Matrix& X) {
  return 2 * M - linear_attention(M, X, X * M, 1);
}

/// The regression that M stands for, M X^T y, a column.
inline Matrix newton_weights(const Matrix& M, const Matrix& X, const Matrix& y) {
  return linear_attention(M, X, y, 1);
}

}  // namespace icl
