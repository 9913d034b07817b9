#pragma once

#include <weft/core/executor.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/gptq.hpp>

#include <vector>

/// GPTQ made better afterwards: codes, scales and offsets of a weight that is quantized already, by
/// turns, each step being exact for what it changes. For each row w of the weight, with codes c in
/// groups and the (damped) Hessian H of its inputs,
///
///   loss   (w - q) H (w - q)^T,   q[k] = scale[g] c[k] + offset[g],   g = k / group
///
///   grids  the scales and offsets of all groups of the row together: least squares
///   codes  column after column, to the best code with all others as they are
///
/// So the loss never rises. GPTQ itself looks at every column once, and never at its grids again.
/// Offsets become real numbers, which operators take (four_bit_weight.hpp) and checkpoints with
/// integer zeros do not.
///
/// Time per sweep: R C^2 for the grids, and C for each code that changes. Memory: C^2 doubles.
///
/// The codes: coordinate descent, as in QuantEase (arXiv 2309.01885). The choice of the grids and
/// the order of the steps are ours. Needs Eigen; see gptq.hpp.
namespace weft::quant {

/// Codes [R, C] below 2^bits, and scale and offset [R, groups] of consecutive columns.
struct OffsetGroups {
  Tensor<std::uint8_t, 2> codes;
  Tensor<double, 2> scale, offset;
  Index group = 0;  ///< columns
  int bits = 4;
};

/// What GPTQ has found. Throws where quantized_matrix would.
inline OffsetGroups offset_groups(const GptqResult& result) {
  auto q = quantized_matrix(result);
  OffsetGroups out{std::move(q.codes), result.scale.clone(), Tensor<double, 2>(q.scale.shape()),
                   q.block.cols, result.options.bits};
  for (Index i = 0; i < out.offset.size(); ++i)
    out.offset.data()[i] = -result.scale.data()[i] * result.zero.data()[i];
  return out;
}

namespace detail {

/// One row of a weight, its codes and its grids.
class GroupRow {
 public:
  GroupRow(View<const double, 1> w, const Tensor<double, 2>& h, OffsetGroups& q, Index row)
      : h_(h), q_(q), row_(row), cols_(w.extent(0)), groups_(q.scale.extent(1)) {
    error_.resize(cols_);
    for (Index k = 0; k < cols_; ++k) error_[k] = w(k) - value(k);
  }

  double loss() const { return error_.dot(hessian() * error_); }

  /// The best change of all scales and offsets; a little of each is held back, because a group
  /// whose codes are all equal has but one of the two.
  void fit_grids() {
    Eigen::MatrixXd terms = Eigen::MatrixXd::Zero(cols_, 2 * groups_);
    for (Index k = 0; k < cols_; ++k) {
      terms(k, 2 * (k / q_.group)) = q_.codes(row_, k);
      terms(k, 2 * (k / q_.group) + 1) = 1;
    }
    const Eigen::MatrixXd weighted = weigh(terms);
    Eigen::MatrixXd normal = terms.transpose() * weighted;
    normal.diagonal() *= 1 + 1e-9;
    const Eigen::VectorXd change = normal.ldlt().solve(weighted.transpose() * error_);
    if (!change.allFinite()) return;
    for (Index g = 0; g < groups_; ++g) {
      q_.scale(row_, g) += change(2 * g);
      q_.offset(row_, g) += change(2 * g + 1);
    }
    error_ -= terms * change;
  }

  /// Every code in turn.
  void descend() {
    Eigen::VectorXd gradient = hessian() * error_;
    for (Index k = 0; k < cols_; ++k) {
      const Index g = k / q_.group;
      const double scale = q_.scale(row_, g);
      if (scale == 0) continue;
      const double best = q_.codes(row_, k) + gradient(k) / (h_(k, k) * scale);
      const double top = (1 << q_.bits) - 1;
      const auto code = static_cast<std::uint8_t>(std::clamp(round_half_even(best), 0., top));
      const double change = scale * (code - q_.codes(row_, k));
      if (change == 0) continue;
      q_.codes(row_, k) = code;
      error_(k) -= change;
      gradient -= change * hessian().col(k);
    }
  }

 private:
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  Eigen::Map<const Matrix> hessian() const { return {h_.data(), cols_, cols_}; }

  /// H times terms that each have one group of columns.
  Eigen::MatrixXd weigh(const Eigen::MatrixXd& terms) const {
    Eigen::MatrixXd out(cols_, 2 * groups_);
    for (Index g = 0; g < groups_; ++g) {
      const Index begin = g * q_.group, count = std::min(q_.group, cols_ - begin);
      out.middleCols(2 * g, 2).noalias() =
          hessian().middleCols(begin, count) * terms.block(begin, 2 * g, count, 2);
    }
    return out;
  }

  double value(Index k) const {
    const Index g = k / q_.group;
    return q_.scale(row_, g) * q_.codes(row_, k) + q_.offset(row_, g);
  }

  const Tensor<double, 2>& h_;
  OffsetGroups& q_;
  Index row_, cols_, groups_;
  Eigen::VectorXd error_;
};

}  // namespace detail

/// Sweeps over the codes and grids of weight [R, C]; `damping` as in GPTQ, of the mean of diag H.
/// Returns the loss before the first and after every sweep, of all rows together. Throws where
/// shapes disagree, numbers are not finite, damping or sweeps are negative.
inline std::vector<double> refine(View<const float, 2> weight, const GptqHessian& hessian,
                                  double damping, int sweeps, OffsetGroups& q,
                                  const Context& ctx = Context{}) {
  const Index rows = weight.extent(0), cols = weight.extent(1);
  require(cols == hessian.inputs() && q.codes.shape() == weight.shape(), "refine: the weight is ",
          weight, ", the codes are ", q.codes.view(), ", the layer has ", hessian.inputs(),
          " inputs");
  require(q.group >= 1 && q.scale.extent(0) == rows &&
              q.scale.extent(1) == ceil_div(cols, q.group) && q.offset.shape() == q.scale.shape(),
          "refine: scales are ", q.scale.view(), ", offsets ", q.offset.view(), " in groups of ",
          q.group);
  require(std::isfinite(damping) && damping >= 0 && sweeps >= 0, "refine: damping is ", damping,
          ", sweeps are ", sweeps);
  const auto w = finite_doubles("weight", weight);
  auto h = hessian.matrix();
  double mean = 0;
  for (Index k = 0; k < cols; ++k) mean += h(k, k) / static_cast<double>(cols);
  for (Index k = 0; k < cols; ++k) h(k, k) += mean > 0 ? damping * mean : 1;
  // An input that is never other than 0 has no best code: any will do.
  for (Index k = 0; k < cols; ++k)
    if (h(k, k) == 0) h(k, k) = 1;
  Tensor<double, 2> losses({rows, Index{sweeps} + 1});
  ctx.parallel(rows, [&](Index r, Arena&) {
    detail::GroupRow row(w.view().select(0, r), h, q, r);
    losses(r, 0) = row.loss();
    for (int i = 1; i <= sweeps; ++i) {
      row.fit_grids();
      row.descend();
      losses(r, i) = row.loss();
    }
  });
  std::vector<double> sums(static_cast<std::size_t>(sweeps) + 1, 0.);
  for (Index r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += losses(r, static_cast<Index>(i));
  return sums;
}

}  // namespace weft::quant
