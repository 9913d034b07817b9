#include "golden/integers.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/core/gemm.hpp>
#include <weft/layer/norm.hpp>
#include <weft/quant/log_sqrt2.hpp>
#include <weft/quant/repq.hpp>

// quant/repq_layernorm, quant/repq_softmax

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

constexpr Tolerance kClose{1e-12, 0};

/// A case in matrices: all leading axes are rows.
class LayerNormCase {
 public:
  LayerNormCase(Case& c, const SafetensorsFile& file, const std::string& name)
      : c_(c), file_(file), name_(name) {}

  Tensor<double, 1> vector(const char* what) const { return file_.read<double, 1>(name_ + what); }
  Tensor<double, 2> matrix(const char* what) const { return file_.read<double, 2>(name_ + what); }
  Tensor<double, 2> rows(const char* what) const {
    auto x = file_.read<double, 3>(name_ + what);
    Tensor<double, 2> out({x.extent(0) * x.extent(1), x.extent(2)});
    std::copy_n(x.data(), x.size(), out.data());
    return out;
  }

  void run() {
    const auto bits = file_.read<std::int32_t, 1>(name_ + ".bits");
    const auto codes = rows(".act_codes_channel");
    // The file does not say whose which of them is: activations use all of their codes.
    const double top = *std::max_element(codes.data(), codes.data() + codes.size());
    const int least = std::min(bits(0), bits(1)), most = std::max(bits(0), bits(1));
    const int act_bits = top < std::ldexp(1., least) ? least : most;
    const int weight_bits = bits(0) + bits(1) - act_bits;

    const auto x = rows(".x");
    auto gamma = vector(".ln_gamma"), beta = vector(".ln_beta"), bias = vector(".bias");
    auto w = matrix(".w");
    const double eps = scalar<double>(file_, name_ + ".eps");
    const auto norm = [&] {
      auto act = unwritten<double, 2>(x.shape());
      normalize(LayerNorm<double>{gamma.view(), beta.view(), eps}, x, act);
      return act;
    };
    const auto linear = [&](const Tensor<double, 2>& act) {
      auto y = unwritten<double, 2>({act.extent(0), w.extent(0)});
      gemm(act, w.view().transpose(0, 1), y, Bias{bias.view()});
      return y;
    };
    const auto act = norm();
    c_.compare("act", act, rows(".act"), kClose);
    c_.compare("y_fp", linear(act), rows(".y_fp"), kClose);

    const auto grids = channel_grids<double>(act, unsigned_codes(act_bits));
    check_channels(act, grids);
    const ScaleReparameterization repq(grids);
    check_reparameterization(repq);
    repq.fold_into_norm(gamma.view(), beta.view());
    repq.fold_into_linear(w.view(), bias.view());
    c_.compare("gamma_new", gamma, vector(".gamma_new"), kClose);
    c_.compare("beta_new", beta, vector(".beta_new"), kClose);
    c_.compare("w_new", w, matrix(".w_new"), kClose);
    c_.compare("bias_new", bias, vector(".bias_new"), kClose);

    auto act_new = norm();
    c_.compare("act_new", act_new, rows(".act_new"), kClose);
    c_.compare("y_fp after the fold", linear(act_new), rows(".y_fp"), kClose);
    check_weight(w, unsigned_codes(weight_bits));
    auto act_codes = act_new.clone();
    for (double& v : act_codes.span()) v = repq.grid().encode(v);
    c_.compare("act_codes_layer", act_codes, rows(".act_codes_layer"), kClose);
    for (double& v : act_new.span()) v = repq.grid().round_trip(v);
    c_.compare("act_dq", act_new, rows(".act_dq"), kClose);
    c_.compare("y_quant", linear(act_new), rows(".y_quant"), kClose);
  }

 private:
  void check_channels(const Tensor<double, 2>& act, const std::vector<RealZeroGrid>& grids) {
    const Index C = act.extent(1);
    Tensor<double, 1> s({C}), z({C});
    Tensor<double, 2> codes(act.shape());
    for (Index c = 0; c < C; ++c) {
      const RealZeroGrid& grid = grids[static_cast<std::size_t>(c)];
      s(c) = grid.scale;
      z(c) = grid.zero;
      for (Index t = 0; t < act.extent(0); ++t) codes(t, c) = grid.encode(act(t, c));
    }
    c_.compare("s", s, vector(".s"), kClose);
    c_.compare("z", z, vector(".z"), {0, 0});
    c_.compare("act_codes_channel", codes, rows(".act_codes_channel"), {0, 0});
  }

  void check_reparameterization(const ScaleReparameterization& repq) {
    Tensor<double, 1> r1({repq.channels()}), r2({repq.channels()}), s({1}), z({1});
    for (Index c = 0; c < repq.channels(); ++c) {
      r1(c) = repq.r1(c);
      r2(c) = repq.r2(c);
    }
    s(0) = repq.grid().scale;
    z(0) = repq.grid().zero;
    c_.compare("r1", r1, vector(".r1"), kClose);
    c_.compare("r2", r2, vector(".r2"), kClose);
    c_.compare("s_tilde", s, vector(".s_tilde"), kClose);
    c_.compare("z_tilde", z, vector(".z_tilde"), kClose);
  }

  /// Calibrates and quantizes w in place.
  void check_weight(Tensor<double, 2>& w, CodeRange codes) {
    const auto grids = percentile_grids<double>(w, codes);
    Tensor<double, 1> scale({w.extent(0)}), zero({w.extent(0)});
    for (Index r = 0; r < w.extent(0); ++r) {
      scale(r) = grids[static_cast<std::size_t>(r)].scale;
      zero(r) = grids[static_cast<std::size_t>(r)].zero;
    }
    round_trip<double>(grids, w.view());
    c_.compare("w_scale", scale, vector(".w_scale"), kClose);
    c_.compare("w_zero", zero, vector(".w_zero"), {0, 0});
    c_.compare("w_dq", w, matrix(".w_dq"), kClose);
  }

  Case& c_;
  const SafetensorsFile& file_;
  std::string name_;
};

void run_layernorm(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { LayerNormCase(c, file, name).run(); });
}

void run_softmax_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto p = file.read<float, 4>(name + ".p");
  const Index cols = p.extent(3), rows = p.size() / std::max<Index>(cols, 1);
  const auto flat = p.view().reshape<2>({rows, cols});
  const auto grid = log_sqrt2_grid<float>(flat, scalar<std::int32_t>(file, name + ".bits"));
  Tensor<double, 1> delta({1});
  delta(0) = grid.delta;
  c.compare("delta", delta, file.read<double, 1>(name + ".delta"), kClose);
  Tensor<std::int32_t, 4> codes(p.shape());
  auto dq = unwritten<double, 4>(p.shape());
  for (Index i = 0; i < p.size(); ++i) {
    codes.data()[i] = grid.encode(static_cast<double>(p.data()[i]));
    dq.data()[i] = grid.decode(codes.data()[i]);
  }
  const auto expected = file.read<std::int32_t, 4>(name + ".codes");
  compare_integers(c, "codes", codes, expected);
  c.compare("dq", dq, file.read<double, 4>(name + ".dq"), kClose);
  if (grid.bits > 7) return;
  Tensor<std::uint8_t, 2> bytes(flat.shape());
  log_sqrt2_encode(grid, flat, bytes.view());
  for (Index i = 0; i < p.size(); ++i) codes.data()[i] = bytes.data()[i];
  compare_integers(c, "codes in fp32", codes, expected);
}

void run_softmax(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_softmax_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {
    {"quant/repq_layernorm", run_layernorm},
    {"quant/repq_softmax", run_softmax},
};

}  // namespace

std::span<const Mechanism> quant_repq_mechanisms() { return kMechanisms; }

}  // namespace golden
