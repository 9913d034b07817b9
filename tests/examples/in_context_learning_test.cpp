#include "in_context_learning/constructions.hpp"
#include "support/catch.hpp"
#include "support/values.hpp"

using icl::Index;
using icl::Matrix;

namespace {

Matrix random_matrix(Index rows, Index columns, std::uint64_t seed) {
  return weft::eigen_map(even_values<double, 2>({rows, columns}, seed).view());
}

double largest_difference(const Matrix& a, const Matrix& b) {
  return (a - b).cwiseAbs().maxCoeff();
}

constexpr Index kExamples = 12, kInputs = 5, kOutputs = 2;

}  // namespace

TEST_CASE("in-context learning: layers are steps of gradient descent", "[examples]") {
  const Matrix X = random_matrix(kExamples, kInputs, 1), Y = random_matrix(kExamples, kOutputs, 2);
  const Matrix x = random_matrix(1, kInputs, 3), W0 = random_matrix(kOutputs, kInputs, 4);
  const double rate = 0.7;
  const auto step = [&](const Matrix& W) -> Matrix {
    return W - rate / kExamples * (X * W.transpose() - Y).transpose() * X;
  };
  Matrix tokens(kExamples + 1, kInputs + kOutputs);
  tokens << X, Y, x, -x * W0.transpose();
  const Matrix one = icl::gradient_step(W0, rate)(tokens, kExamples);
  CHECK(largest_difference(-one.bottomRightCorner(1, kOutputs), x * step(W0).transpose()) < 1e-14);
  CHECK(one.leftCols(kInputs) == tokens.leftCols(kInputs));

  // From zero, one layer for all steps.
  const auto layer = icl::gradient_step(Matrix::Zero(kOutputs, kInputs), rate);
  Matrix W = Matrix::Zero(kOutputs, kInputs);
  tokens.bottomRightCorner(1, kOutputs).setZero();
  for (int l = 0; l < 10; ++l) {
    tokens = layer(tokens, kExamples);
    W = step(W);
    CHECK(largest_difference(-tokens.bottomRightCorner(1, kOutputs), x * W.transpose()) < 1e-13);
  }
}

TEST_CASE("in-context learning: Newton converges quadratically, to the pseudo-inverse",
          "[examples]") {
  Matrix X = random_matrix(kExamples, kInputs, 1);
  X.col(kInputs - 1) = X.col(0);  // X^T X is singular
  const Matrix S = X.transpose() * X;
  Matrix M = S / S.squaredNorm();
  // |S M S - S| is squared, relative to |S|, by each step.
  const auto miss = [&] { return (S * M * S - S).norm() / S.norm(); };
  // Not longer than needed: rounding errors where S is zero double with each step.
  for (int k = 0; k < 40 && miss() > 1e-13; ++k) {
    const double before = miss();
    M = icl::newton_step(M, X);
    if (before < 0.1 && before > 1e-6) CHECK(miss() < 10 * before * before);
  }
  CHECK(miss() < 1e-13);
  CHECK(largest_difference(M * S * M, M) < 1e-9);
  CHECK(largest_difference(S * M, (S * M).transpose()) < 1e-9);
}

TEST_CASE("in-context learning: the trained layer answers by the covariance", "[examples]") {
  const Matrix X = random_matrix(kExamples, kInputs, 1), y = random_matrix(kExamples, 1, 2);
  const Matrix x = random_matrix(1, kInputs, 3);
  // With Lambda = I and length L, Gamma = (1 + (1 + d) / L) I.
  const Matrix unit = Matrix::Identity(kInputs, kInputs);
  Matrix tokens(kExamples + 1, kInputs + 1);
  tokens << X, y, x, Matrix::Zero(1, 1);
  const Matrix after = icl::global_minimum(unit, 20)(tokens, kExamples);
  const double gamma = 1 + (1.0 + kInputs) / 20;
  CHECK(after(kExamples, kInputs) ==
        Approx((x * X.transpose() * y)(0, 0) / (gamma * kExamples)).epsilon(1e-13));
  CHECK(after.leftCols(kInputs) == tokens.leftCols(kInputs));
}
