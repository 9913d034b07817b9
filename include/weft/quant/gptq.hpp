#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/calibration.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/gptq_checkpoint.hpp>
#include <weft/quant/gram.hpp>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wuninitialized"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wdeprecated-copy"
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Cholesky>
#include <Eigen/Core>
#pragma GCC diagnostic pop

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

/// GPTQ: quantizes a weight column by column and lets the columns that are still to come make up
/// for the error (GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
/// Transformers, arXiv 2210.17323).
///
/// For a weight W [R, C] and calibration inputs X of n sequences, all tokens of which are rows:
///
///   H = 2 / n sum X^T X,   H[c, c] += damping mean(diag H),   U^T U = H^-1, U upper triangular
///   column j = 0, 1, ...:  q = grid(W[:, j]),  e = (W[:, j] - q) / U[j, j]
///                          W[:, i] -= e U[j, i] for i > j,  loss += |e|^2 / 2
///
/// Columns are updated in blocks, so that nearly all work is matrix products. Everything is
/// computed in double. Inputs that are never other than 0 get H[c, c] = 1 and weights of 0.
///
/// A grid belongs to one row and one group of columns:
///
///   lo = min(min w, 0), hi = max(max w, 0)
///   scale = (hi - lo) / (2^b - 1), zero = rint(-lo / scale)
///   symmetric: hi = max(-lo, hi), lo = -hi (a row without negative weights keeps lo = 0),
///              zero = 2^(b-1)
///   shrink:    both ends times 1 - i / 100, i = 0..79: the first of least sum |w - q|^2.4
///   ternary:   hi if w > hi / 2, lo if w < lo / 2, else 0: codes 2, 0, 1
///
/// A group is the whole row, with lo and hi of the weights as they are given, dead inputs included;
/// or `group` consecutive columns, the last one possibly fewer: static ones from the weights as
/// given but for dead inputs, others from the weights as they are when the first column of the
/// group comes, without updates from the same block of columns.
///
/// With H = I this is rounding to the nearest. Time 2 tokens C^2 for H, C^3 for U, R C^2 for
/// the columns.
///
/// This header needs Eigen, and Eigen's functions do not carry an instruction set in their names:
/// in a program that is compiled for several, include it only in sources compiled for the least of
/// them.
namespace weft::quant {

/// H of one linear layer, from as many batches of its inputs as there are.
class GptqHessian {
 public:
  /// Throws unless inputs >= 1.
  explicit GptqHessian(Index inputs) : sum_({inputs, inputs}) {
    require(inputs >= 1, "GptqHessian: ", inputs, " inputs; wanted at least 1");
  }

  Index inputs() const noexcept { return sum_.extent(0); }
  Index sequences() const noexcept { return sequences_; }

  /// x [B, T, C]: B sequences of T tokens. Throws where C is not `inputs`, or x not finite; nothing
  /// is added then.
  template <class A = DefaultArch>
  void add_batch(View<const float, 3> x, const Context& ctx = Context{}) {
    require(x.extent(2) == inputs(), "GptqHessian: x is ", x, ", the layer has ", inputs(),
            " inputs");
    for (Index b = 0; b < x.extent(0); ++b) require_finite("x", x.select(0, b));
    for (Index b = 0; b < x.extent(0); ++b) add_gram<A>(x.select(0, b), sum_, ctx);
    sequences_ += x.extent(0);
  }

  /// x [T, C]: one sequence.
  template <class A = DefaultArch>
  void add_batch(View<const float, 2> x, const Context& ctx = Context{}) {
    add_batch<A>(unsqueeze(x), ctx);
  }

  /// 2 / n sum X^T X, not damped. Throws where nothing has been added.
  Tensor<double, 2> matrix() const {
    require(sequences_ > 0, "GptqHessian: no calibration inputs have been added");
    Tensor<double, 2> h = sum_.clone();
    for (double& x : h.span()) x *= 2 / static_cast<double>(sequences_);
    return h;
  }

 private:
  Tensor<double, 2> sum_;
  Index sequences_ = 0;
};

struct GptqOptions {
  int bits = 4;                   ///< 2 to 8
  bool symmetric = false;         ///< zero is the middle code
  bool shrink = false;            ///< search the range, at 80 times the cost
  bool ternary = false;           ///< three values instead of 2^bits
  Index group = 0;                ///< columns that share a grid; 0: the whole row
  bool static_groups = false;     ///< grids of groups from the given weights, before any update
  bool activation_order = false;  ///< columns of large inputs first: descending diag H, stable
  double damping = 0.01;          ///< of the mean of diag H, >= 0; tenfold until H has a factor
  Index block = 128;              ///< columns between two updates of all others, >= 1
};

struct GptqResult {
  Tensor<std::uint8_t, 2> codes;     ///< [R, C], columns in the order of the weight
  Tensor<double, 2> scale;           ///< [R, groups]; ternary: the upper value
  Tensor<std::int32_t, 2> zero;      ///< [R, groups]; ternary: 1
  Tensor<double, 2> low;             ///< [R, groups], ternary only: the lower value
  Tensor<std::int32_t, 1> group_of;  ///< [C]: the group of each column
  Tensor<std::int32_t, 1> order;     ///< [C]: columns in the order in which they were quantized
  Tensor<double, 2> weight;          ///< [R, C]: scale (code - zero)
  double loss = 0;
  double damping = 0;        ///< what it took for H to have a factor
  GptqOptions options = {};  ///< as given
};

namespace detail {

/// The values that the weights of a row and a group may take.
struct GptqValues {
  AffineGrid<double> levels{.scale = 1, .zero = 0, .codes = {0, 1}};
  bool ternary = false;
  double low = 0;

  int encode(double w) const noexcept {
    if (!ternary) return levels.encode(w);
    return w > levels.scale / 2 ? 2 : w < low / 2 ? 0 : 1;
  }
  double decode(int code) const noexcept {
    if (!ternary) return levels.decode(code);
    return code == 2 ? levels.scale : code == 0 ? low : 0;
  }
};

/// The values for some weights of one row.
inline GptqValues gptq_values(std::span<const double> w, const GptqOptions& options) {
  const Range range = gptq_range(w, options.symmetric);
  if (options.ternary)
    return {.levels = {range.high, 1, {0, 2}}, .ternary = true, .low = range.low};
  return {.levels = options.shrink ? gptq_shrink_search(w, options.bits, options.symmetric).grid
                                   : gptq_grid(range, options.bits, options.symmetric)};
}

/// U of U^T U = (H + damp I)^-1, or nothing where H + damp I is not positive definite.
///
/// With J the reversal of the order and J (H + damp I) J = L L^T, H + damp I = M M^T for the upper
/// triangle M = J L J, and U = M^-1 = J L^-1 J: one factorisation, and H^-1 is never formed.
inline Tensor<double, 2> gptq_factor(const Tensor<double, 2>& h, double damp) {
  const Index C = h.extent(0), last = C - 1;
  Eigen::MatrixXd reversed(C, C);
  for (Index j = 0; j < C; ++j) {
    for (Index i = 0; i < C; ++i) reversed(i, j) = h(last - j, last - i);
    reversed(j, j) += damp;
  }
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factor(reversed);
  if (factor.info() != Eigen::Success) return {};
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(C, C);
  factor.matrixL().solveInPlace(inverse);
  if (!inverse.allFinite()) return {};
  Tensor<double, 2> u({C, C});
  for (Index j = 0; j < C; ++j)
    for (Index i = 0; i <= j; ++i) u(i, j) = inverse(last - i, last - j);
  return u;
}

/// One run over a weight. The columns of `weight` and `factor` are in the order of the run.
class GptqRun {
 public:
  GptqRun(View<const float, 2> weight, const GptqHessian& hessian, const GptqOptions& options)
      : options_(options),
        rows_(weight.extent(0)),
        cols_(weight.extent(1)),
        group_(options.group == 0 ? cols_ : options.group),
        weight_(finite_doubles("weight", weight)),
        losses_(static_cast<std::size_t>(rows_), 0.0) {
    grids_.resize(static_cast<std::size_t>(rows_ * groups()));
    Tensor<double, 2> h = hessian.matrix();
    if (options_.group == 0) fit_groups();
    drop_dead_inputs(h);
    if (options_.group != 0 && options_.static_groups) fit_groups();
    take_order(h);
    factorise(h);
    start_result();
  }

  template <class A>
  GptqResult run(const Context& ctx) {
    constexpr Index kRows = 16;  // of a task
    const Index most = std::min(options_.block, cols_);
    Tensor<double, 2> block({rows_, most});
    for (Index begin = 0; begin < cols_; begin += most) {
      const Index end = std::min(begin + most, cols_);
      ctx.parallel(ceil_div(rows_, kRows), [&](Index task, Arena&) {
        for (Index r = task * kRows; r < std::min(rows_, (task + 1) * kRows); ++r)
          quantize_row(r, begin, end, block.view().pointer(r));
      });
      const auto later = weight_.view().slice(1, end, cols_ - end);
      gemm<A>(block.view().slice(1, 0, end - begin),
              factor_.view().slice(0, begin, end - begin).slice(1, end, cols_ - end), later,
              AddResidual{later}, ctx);
    }
    return finish();
  }

 private:
  Index groups() const noexcept { return ceil_div(cols_, group_); }
  bool dynamic() const noexcept { return options_.group != 0 && !options_.static_groups; }
  GptqValues& grid(Index row, Index group) noexcept {
    return grids_[static_cast<std::size_t>(row * groups() + group)];
  }
  Index column(Index position) const noexcept { return out_.order(position); }

  /// The group of what is quantized as number `position`.
  Index group_at(Index position) const noexcept {
    return (dynamic() ? position : column(position)) / group_;
  }

  GptqValues fit(Index row, Index group) const {
    const Index begin = group * group_, count = std::min(group_, cols_ - begin);
    return gptq_values({weight_.view().pointer(row, begin), static_cast<std::size_t>(count)},
                       options_);
  }
  void fit_groups() {
    for (Index r = 0; r < rows_; ++r)
      for (Index g = 0; g < groups(); ++g) grid(r, g) = fit(r, g);
  }

  void drop_dead_inputs(Tensor<double, 2>& h) {
    for (Index c = 0; c < cols_; ++c) {
      if (h(c, c) != 0) continue;
      h(c, c) = 1;
      for (Index r = 0; r < rows_; ++r) weight_(r, c) = 0;
    }
  }

  /// Decides on the order of the columns, and brings the weight and h into it.
  void take_order(Tensor<double, 2>& h) {
    out_.order = Tensor<std::int32_t, 1>({cols_});
    const auto order = out_.order.span();
    std::iota(order.begin(), order.end(), 0);
    if (!options_.activation_order) return;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return h(a, a) > h(b, b); });
    const Tensor<double, 2> old_h = std::exchange(h, Tensor<double, 2>(h.shape()));
    const Tensor<double, 2> old = std::exchange(weight_, Tensor<double, 2>(weight_.shape()));
    for (Index j = 0; j < cols_; ++j) {
      for (Index i = 0; i < cols_; ++i) h(i, j) = old_h(column(i), column(j));
      for (Index r = 0; r < rows_; ++r) weight_(r, j) = old(r, column(j));
    }
  }

  void factorise(const Tensor<double, 2>& h) {
    double mean = 0;
    for (Index c = 0; c < cols_; ++c) mean += h(c, c) / static_cast<double>(cols_);
    for (double damping = options_.damping;; damping = damping == 0 ? 1e-6 : 10 * damping) {
      factor_ = gptq_factor(h, damping * mean);
      out_.damping = damping;
      if (factor_.size() != 0) return;
      require(damping < 1e3, "gptq: the Hessian has no Cholesky factor, however damped");
    }
  }

  void start_result() {
    out_.options = options_;
    out_.codes = Tensor<std::uint8_t, 2>({rows_, cols_});
    out_.weight = Tensor<double, 2>({rows_, cols_});
    out_.group_of = Tensor<std::int32_t, 1>({cols_});
    for (Index j = 0; j < cols_; ++j)
      out_.group_of(column(j)) = static_cast<std::int32_t>(group_at(j));
  }

  /// Columns [begin, end) of one row; leaves -e of each in `block`.
  void quantize_row(Index r, Index begin, Index end, double* block) {
    std::copy_n(weight_.view().pointer(r, begin), end - begin, block);
    double squares = 0;
    for (Index j = begin; j < end; ++j) {
      if (dynamic() && j % group_ == 0) grid(r, j / group_) = fit(r, j / group_);
      const GptqValues& levels = grid(r, group_at(j));
      const double w = block[j - begin];
      const int code = levels.encode(w);
      const double q = levels.decode(code), e = (w - q) / factor_(j, j);
      out_.codes(r, column(j)) = static_cast<std::uint8_t>(code);
      out_.weight(r, column(j)) = q;
      squares += e * e;
      const double* u = factor_.view().pointer(j, begin);
      for (Index i = j + 1 - begin; i < end - begin; ++i) block[i] -= e * u[i];
      block[j - begin] = -e;
    }
    losses_[static_cast<std::size_t>(r)] += squares / 2;
  }

  GptqResult finish() {
    out_.scale = Tensor<double, 2>({rows_, groups()});
    out_.zero = Tensor<std::int32_t, 2>({rows_, groups()});
    if (options_.ternary) out_.low = Tensor<double, 2>({rows_, groups()});
    for (Index r = 0; r < rows_; ++r)
      for (Index g = 0; g < groups(); ++g) {
        out_.scale(r, g) = grid(r, g).levels.scale;
        out_.zero(r, g) = grid(r, g).levels.zero;
        if (options_.ternary) out_.low(r, g) = grid(r, g).low;
      }
    out_.loss = std::accumulate(losses_.begin(), losses_.end(), 0.0);
    return std::move(out_);
  }

  GptqOptions options_;
  Index rows_, cols_, group_;
  Tensor<double, 2> weight_, factor_;
  std::vector<GptqValues> grids_;
  std::vector<double> losses_;
  GptqResult out_;
};

inline void check_gptq(View<const float, 2> weight, const GptqHessian& hessian,
                       const GptqOptions& options) {
  require(weight.extent(1) == hessian.inputs(), "gptq: the weight is ", weight,
          ", the Hessian has ", hessian.inputs(), " inputs");
  require(options.bits >= 2 && options.bits <= 8, "gptq: ", options.bits, " bits; wanted 2 to 8");
  require(options.group >= 0, "gptq: groups of ", options.group,
          " columns; wanted at least 1, or 0 for whole rows");
  require(options.block >= 1, "gptq: blocks of ", options.block, " columns; wanted at least 1");
  require(options.damping >= 0 && std::isfinite(options.damping), "gptq: damping is ",
          options.damping, "; wanted a finite number, not negative");
  require(!(options.ternary && options.shrink),
          "gptq: ternary values have no range to shrink; set one of the two");
}

}  // namespace detail

/// Quantizes weight [R, C]. Throws where shapes disagree, options are out of range, the weight is
/// not finite, or nothing has been added to the Hessian.
template <class A = DefaultArch>
GptqResult gptq(View<const float, 2> weight, const GptqHessian& hessian,
                const GptqOptions& options = {}, const Context& ctx = Context{}) {
  detail::check_gptq(weight, hessian, options);
  return detail::GptqRun(weight, hessian, options).run<A>(ctx);
}

/// The same numbers as a matrix that operators take, scales rounded to float. Throws for ternary
/// values, and where groups are not consecutive columns (activation order without static groups).
inline QuantizedMatrix<std::uint8_t> quantized_matrix(const GptqResult& result) {
  const Index cols = result.codes.extent(1);
  const Index group = result.options.group == 0 ? cols : result.options.group;
  require(!result.options.ternary, "quantized_matrix: ternary values are on no grid");
  for (Index c = 0; c < cols; ++c)
    require(result.group_of(c) == c / group, "quantized_matrix: column ", c, " is of group ",
            result.group_of(c), "; set static_groups with activation_order");
  return {.codes = result.codes.clone(),
          .scale = floats(result.scale),
          .zero = result.zero.clone(),
          .block = Block::group(group),
          .range = unsigned_codes(result.options.bits)};
}

/// The same numbers as a checkpoint has them, for pack_gptq (gptq_checkpoint.hpp): any groups.
/// Throws for ternary values.
inline GptqMatrix checkpoint_matrix(const GptqResult& result) {
  require(!result.options.ternary, "checkpoint_matrix: ternary values are on no grid");
  const Index R = result.codes.extent(0), C = result.codes.extent(1), G = result.scale.extent(1);
  GptqMatrix out{result.options.bits, Tensor<std::uint8_t, 2>({C, R}),
                 Tensor<std::int32_t, 2>({G, R}), Tensor<float, 2>({G, R}),
                 result.group_of.clone()};
  for (Index r = 0; r < R; ++r) {
    for (Index c = 0; c < C; ++c) out.codes(c, r) = result.codes(r, c);
    for (Index g = 0; g < G; ++g) {
      out.zeros(g, r) = result.zero(r, g);
      out.scales(g, r) = static_cast<float>(result.scale(r, g));
    }
  }
  return out;
}

}  // namespace weft::quant
