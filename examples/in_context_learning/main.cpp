/// What a transformer could compute to learn from its prompt: weights from the literature, put into
/// weft's attention, solve linear regressions layer by layer. The program prints the loss after
/// each layer next to ridge regression, and checks every construction against its formula.
#include "constructions.hpp"
#include <weft/core/random.hpp>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace {

using icl::Index;
using icl::Matrix;

constexpr Index kInputs = 8, kContext = 20, kTasks = 200, kLayers = 16;
constexpr double kNoise = 0.5, kRate = 0.6;

/// Standard deviation of input c: they differ, which is what slows gradient descent down.
double deviation(Index c) { return 1 / (1 + 0.25 * static_cast<double>(c)); }

/// y = w . x + noise, and x_q with w . x_q.
struct Task {
  Matrix X, y, xq;
  double answer;

  explicit Task(weft::Philox& random)
      : X(kContext, kInputs), y(kContext, 1), xq(1, kInputs), answer(0) {
    Matrix w(kInputs, 1);
    for (Index c = 0; c < kInputs; ++c) {
      w(c, 0) = double{random.normal()};
      xq(0, c) = deviation(c) * double{random.normal()};
      for (Index i = 0; i < kContext; ++i) X(i, c) = deviation(c) * double{random.normal()};
    }
    y = X * w;
    for (Index i = 0; i < kContext; ++i) y(i, 0) += kNoise * double{random.normal()};
    answer = (xq * w)(0, 0);
  }

  /// Rows (x, y), and (x_q, 0) at the end.
  Matrix tokens() const {
    Matrix all = Matrix::Zero(kContext + 1, kInputs + 1);
    all.topLeftCorner(kContext, kInputs) = X;
    all.topRightCorner(kContext, 1) = y;
    all.bottomLeftCorner(1, kInputs) = xq;
    return all;
  }
};

/// Predictions after 0, 1, ... layers, and how far they were from the formula.
struct Curve {
  std::vector<double> predictions{0.0};
  double error = 0;

  void add(double prediction, const Matrix& expected) {
    predictions.push_back(prediction);
    error = std::max(error, std::abs(prediction - expected(0, 0)));
  }
};

Curve gradient_descent(const Task& task) {
  const auto layer = icl::gradient_step(Matrix::Zero(1, kInputs), kRate);
  Matrix tokens = task.tokens(), w = Matrix::Zero(kInputs, 1);
  Curve curve;
  for (Index l = 0; l < kLayers; ++l) {
    tokens = layer(tokens, kContext);
    w -= kRate / kContext * task.X.transpose() * (task.X * w - task.y);
    curve.add(-tokens(kContext, kInputs), task.xq * w);
  }
  return curve;
}

Curve newton(const Task& task) {
  const Matrix S = task.X.transpose() * task.X;
  Matrix M = S / S.squaredNorm(), expected = M;
  Curve curve;
  for (Index l = 0; l < kLayers; ++l) {
    M = icl::newton_step(M, task.X);
    expected = 2 * expected - expected * S * expected;
    curve.add((task.xq * icl::newton_weights(M, task.X, task.y))(0, 0),
              task.xq * expected * task.X.transpose() * task.y);
  }
  return curve;
}

/// One layer, as training leaves it.
Curve trained(const Task& task) {
  Matrix lambda = Matrix::Zero(kInputs, kInputs);
  for (Index c = 0; c < kInputs; ++c) lambda(c, c) = deviation(c) * deviation(c);
  const Matrix gamma = (1 + 1.0 / kContext) * lambda +
                       lambda.trace() / kContext * Matrix::Identity(kInputs, kInputs);
  Curve curve;
  curve.add(icl::global_minimum(lambda, kContext)(task.tokens(), kContext)(kContext, kInputs),
            task.xq * gamma.ldlt().solve(task.X.transpose() * task.y) / kContext);
  return curve;
}

/// The best there is for weights of variance 1: ridge regression with the variance of the noise.
double ridge(const Task& task) {
  const Matrix S =
      task.X.transpose() * task.X + kNoise * kNoise * Matrix::Identity(kInputs, kInputs);
  return (task.xq * S.ldlt().solve(task.X.transpose() * task.y))(0, 0);
}

/// Mean squared error after each layer, over all tasks.
struct Loss {
  std::vector<double> mean;
  double error = 0;

  void add(const Task& task, const Curve& curve) {
    mean.resize(curve.predictions.size());
    for (std::size_t l = 0; l < mean.size(); ++l) {
      const double miss = curve.predictions[l] - task.answer;
      mean[l] += miss * miss / kTasks;
    }
    error = std::max(error, curve.error);
  }
};

}  // namespace

int main() {
  Loss descent, second_order, one_layer;
  double ridge_loss = 0;
  weft::Philox random(1);
  for (Index t = 0; t < kTasks; ++t) {
    const Task task(random);
    descent.add(task, gradient_descent(task));
    second_order.add(task, newton(task));
    one_layer.add(task, trained(task));
    const double miss = ridge(task) - task.answer;
    ridge_loss += miss * miss / kTasks;
  }

  std::printf("Loss of %td regressions of %td inputs from %td noisy examples\n\n", kTasks, kInputs,
              kContext);
  std::printf("layers   gradient descent   Newton\n");
  for (std::size_t l = 0; l < descent.mean.size(); ++l)
    std::printf("%6zu %18.4f %8.4f\n", l, descent.mean[l], second_order.mean[l]);
  std::printf("one layer as training leaves it: %.4f\n", one_layer.mean[1]);
  std::printf("ridge regression:                %.4f\n", ridge_loss);

  const double error = std::max({descent.error, second_order.error, one_layer.error});
  std::printf("\nlargest difference from the formulas: %.1e\n", error);
  return error < 1e-9 ? 0 : 1;
}
