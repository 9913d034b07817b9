#include "in_context_learning/constructions.hpp"

#include "golden/metadata.hpp"
#include "golden/registry.hpp"

// softmax/icl_constructions: the weights that examples/in_context_learning gives to attention

namespace golden {
namespace {

using icl::Matrix;
using weft::Index;
using weft::SafetensorsFile;
using weft::Tensor;

Matrix matrix(const SafetensorsFile& file, const std::string& name) {
  return weft::eigen_map(file.read<double, 2>(name).view());
}

/// A vector as a matrix of one column.
Matrix column(const SafetensorsFile& file, const std::string& name) {
  return weft::eigen_map(file.read<double, 1>(name).view());
}

template <class E>
Tensor<double, 2> tensor(const E& expression) {
  const Matrix m = expression;
  Tensor<double, 2> t({m.rows(), m.cols()});
  weft::eigen_map(t.view()) = m;
  return t;
}

/// The elements of an expression, row by row.
template <class E>
Tensor<double, 1> flat(const E& expression) {
  const Matrix m = expression;
  Tensor<double, 1> t({m.size()});
  std::copy_n(m.data(), m.size(), t.data());
  return t;
}

/// gd.NAME: one layer is one step of gradient descent.
void run_gradient(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Matrix W0 = matrix(file, name + ".W0"), tokens = matrix(file, name + ".tokens");
  const auto dims = file.read<std::int32_t, 1>(name + ".dims");
  const Index n = dims(0), inputs = dims(1), outputs = dims(2);
  const double rate = file.read<double, 1>(name + ".eta")(0);
  const Matrix after = icl::gradient_step(W0, rate)(tokens, n);
  c.compare("tokens_out", tensor(after), file.read<double, 2>(name + ".tokens_out"));
  c.compare("prediction", flat(-after.bottomRightCorner(1, outputs)),
            file.read<double, 1>(name + ".prediction"));
  // The query's y turns from -W0 x into -(W0 + dW) x; asking for every unit vector shows dW.
  Matrix units = Matrix::Zero(n + inputs, inputs + outputs);
  units.topRows(n) = tokens.topRows(n);
  units.bottomLeftCorner(inputs, inputs).setIdentity();
  units.bottomRightCorner(inputs, outputs) = -W0.transpose();
  const Matrix answers = -icl::gradient_step(W0, rate)(units, n).bottomRightCorner(inputs, outputs);
  c.compare("delta_W", tensor(answers.transpose() - W0), file.read<double, 2>(name + ".delta_W"));
}

/// newton.NAME: w_iters holds M_k X^T y for k = 0, 1, ...
void run_newton(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Matrix X = matrix(file, name + ".X"), y = column(file, name + ".y");
  const auto expected = file.read<double, 2>(name + ".w_iters");
  Matrix M = file.read<double, 1>(name + ".alpha")(0) * X.transpose() * X;
  Matrix weights(expected.extent(0), X.cols());
  for (Index k = 0; k < weights.rows(); ++k) {
    weights.row(k) = icl::newton_weights(M, X, y).transpose();
    M = icl::newton_step(M, X);
  }
  c.compare("w_iters", tensor(weights), expected);
  for (int more = 0; more < 20; ++more) M = icl::newton_step(M, X);
  c.compare("w_ols", flat(icl::newton_weights(M, X, y)), file.read<double, 1>(name + ".w_ols"));
}

/// lsa.NAME: E has a column per token, and the sum runs over the query too, whose y is zero.
void run_global_minimum(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Matrix X = matrix(file, name + ".X"), y = column(file, name + ".y");
  const Index n = X.rows(), d = X.cols();
  const auto layer = icl::global_minimum(matrix(file, name + ".Lambda"),
                                         file.read<std::int32_t, 1>(name + ".train_N")(0));
  c.compare("W_KQ", tensor(layer.kq), file.read<double, 2>(name + ".W_KQ"));
  c.compare("W_PV", tensor(layer.pv), file.read<double, 2>(name + ".W_PV"));
  Matrix tokens = Matrix::Zero(n + 1, d + 1);
  tokens.topLeftCorner(n, d) = X;
  tokens.topRightCorner(n, 1) = y;
  tokens.bottomLeftCorner(1, d) = column(file, name + ".xq").transpose();
  const Matrix after = layer(tokens, n);
  c.compare("E_out", tensor(after.transpose()), file.read<double, 2>(name + ".E_out"));
  c.compare("prediction", flat(after.bottomRightCorner(1, 1)),
            file.read<double, 1>(name + ".prediction"));
}

void run_constructions(const SafetensorsFile& file, Report& report) {
  // Tensors are called KIND.CASE.something.
  std::set<std::string> names;
  for (const std::string& tensor : file.names()) names.insert(tensor.substr(0, tensor.rfind('.')));
  for (const std::string& name : names) {
    report.run(name, [&](Case& c) {
      if (name.starts_with("gd.")) return run_gradient(c, file, name);
      if (name.starts_with("newton.")) return run_newton(c, file, name);
      if (name.starts_with("lsa.")) return run_global_minimum(c, file, name);
      c.fail("no such construction");
    });
  }
}

constexpr Mechanism kMechanisms[] = {{"softmax/icl_constructions", run_constructions}};

}  // namespace

std::span<const Mechanism> construction_mechanisms() { return kMechanisms; }

}  // namespace golden
