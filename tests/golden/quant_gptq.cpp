#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/gptq.hpp>

#include <cmath>
#include <set>

// quant/gptq

namespace golden {
namespace {

using namespace weft;

/// params: bits, symmetric, shrink, block, damping, group (-1: the row), activation order, static.
quant::GptqOptions gptq_options(const SafetensorsFile& file, const std::string& name) {
  const auto p = file.read<double, 1>(name + ".params");
  return {.bits = static_cast<int>(p(0)),
          .symmetric = p(1) != 0,
          .shrink = p(2) != 0,
          .group = p(5) < 0 ? 0 : static_cast<Index>(p(5)),
          .static_groups = p(7) != 0,
          .activation_order = p(6) != 0,
          .damping = p(4),
          .block = static_cast<Index>(p(3))};
}

template <class T, std::size_t Rank>
void require_codes(Case& c, const std::string& what, const Tensor<T, Rank>& got,
                   const Tensor<std::int32_t, Rank>& wanted) {
  bool same = got.shape() == wanted.shape();
  for (Index i = 0; same && i < got.size(); ++i) same = got.data()[i] == wanted.data()[i];
  c.require(what + " are equal", same);
}

/// A value per row and column out of one per row and group.
template <class T>
Tensor<T, 2> by_column(const Tensor<T, 2>& groups, const Tensor<std::int32_t, 1>& group_of) {
  Tensor<T, 2> out({groups.extent(0), group_of.extent(0)});
  for (Index r = 0; r < out.extent(0); ++r)
    for (Index c = 0; c < out.extent(1); ++c) out(r, c) = groups(r, group_of(c));
  return out;
}

/// mean((X W^T - X V^T)^2).
Tensor<double, 1> output_error(const Tensor<float, 3>& x, const Tensor<float, 2>& w,
                               const Tensor<double, 2>& v) {
  const View<const float, 2> tokens(x.data(), {x.extent(0) * x.extent(1), x.extent(2)});
  Tensor<double, 1> mean({1});
  for (Index t = 0; t < tokens.extent(0); ++t)
    for (Index r = 0; r < w.extent(0); ++r) {
      double sum = 0;
      for (Index c = 0; c < w.extent(1); ++c)
        sum += static_cast<double>(tokens(t, c)) * (static_cast<double>(w(r, c)) - v(r, c));
      mean(0) += sum * sum / static_cast<double>(tokens.extent(0) * w.extent(0));
    }
  return mean;
}

/// Of what comes out of the factor of H: its condition number, below 1e5, times eps.
constexpr Tolerance kFactored{.fp64 = 1e-10};

void run_gptq_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto w = file.read<float, 2>(name + ".W");
  const auto x = file.read<float, 3>(name + ".X");
  const auto integers = [&](const char* part) { return name + "." + part; };
  quant::GptqHessian hessian(w.extent(1));
  for (Index b = 0; b < x.extent(0); ++b) hessian.add_batch(x.view().select(0, b));
  c.compare("H", hessian.matrix(), file.read<double, 2>(name + ".H"));

  const auto options = gptq_options(file, name);
  const auto result = quant::gptq(w, hessian, options);
  require_codes(c, "codes", result.codes, file.read<std::int32_t, 2>(integers("codes")));
  require_codes(c, "zeros", result.zero, file.read<std::int32_t, 2>(integers("zeros")));
  require_codes(c, "groups", result.group_of, file.read<std::int32_t, 1>(integers("g_idx")));
  require_codes(c, "the order", result.order, file.read<std::int32_t, 1>(integers("perm")));
  require_codes(c, "zeros by column", by_column(result.zero, result.group_of),
                file.read<std::int32_t, 2>(integers("zero_col")));
  c.compare("scales", result.scale, file.read<double, 2>(name + ".scales"), kFactored);
  c.compare("scales by column", by_column(result.scale, result.group_of),
            file.read<double, 2>(name + ".scale_col"), kFactored);
  c.compare("weights", result.weight, file.read<double, 2>(name + ".Wq"), kFactored);
  Tensor<double, 1> loss({1});
  loss(0) = result.loss;
  c.compare("loss", loss, file.read<double, 1>(name + ".loss"), kFactored);
  c.compare("output error", output_error(x, w, result.weight),
            file.read<double, 1>(name + ".out_mse"), kFactored);
  c.require("the damping is as asked", result.damping == options.damping);
}

void run_gptq(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_gptq_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {{"quant/gptq", run_gptq}};

}  // namespace

std::span<const Mechanism> gptq_mechanisms() { return kMechanisms; }

}  // namespace golden
