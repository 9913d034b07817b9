#include "golden/integers.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/core/gemm.hpp>
#include <weft/quant/w8a8.hpp>

// quant/w8a8_sim

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

constexpr Tolerance kClose{1e-12, 1e-5};
/// The clips of the file were rounded to fp32 before they were tried.
constexpr Tolerance kSearched{1e-7, 0};

class W8A8Case {
 public:
  W8A8Case(Case& c, const SafetensorsFile& file, const std::string& name)
      : c_(c), file_(file), name_(name), params_(file.read<double, 1>(name + ".params")) {}

  void run() {
    const auto calib = file_.read<float, 3>(name_ + ".calib");
    const auto w = file_.read<double, 2>(name_ + ".w");
    const Index batches = calib.extent(0), tokens = calib.extent(1), rows = w.extent(0);
    const AffineGrid<double> input = calibrate(calib);
    const auto weights = weight_grid<double>(w, bits());
    check("x", input);
    compare(".w_scale", weights.scale);
    const auto last_batch = doubles(calib.view().select(0, batches - 1));
    const View<const double, 2> last = last_batch;
    const auto x_codes = check_codes<std::uint8_t>(".x_codes", input, last);
    const auto w_codes = check_codes<std::int8_t>(".w_codes", weights, w);
    if (bits() <= 8) check_sums(x_codes, w_codes, input.zero);

    auto x = simulated(input, last), y = unwritten<double, 2>({tokens, rows});
    const auto bias = file_.read<double, 1>(name_ + ".bias");
    const auto w_dq = simulated(weights, w.view());
    gemm(x, w_dq.view().transpose(0, 1), y, Bias{bias.view()});
    c_.compare("y", y, matrix(".y"), kClose);
    const auto [low, high] = std::minmax_element(y.data(), y.data() + y.size());
    const auto output = activation_grid({*low, *high}, bits());
    check("y", output);
    round_trip(output, y.view());
    c_.compare("y_q", y, matrix(".y_q"), kClose);

    check_integer_path(input, weights, last);
    const auto four = searched_weight_grid<double>(w, 4);
    compare(".w4_scale", four.scale, kSearched);
    compare(".w4_mse_clip", four.scale * four.codes.high, kSearched);
    c_.compare("w4_dq", simulated(four, w.view()), matrix(".w4_dq"), kSearched);
  }

 private:
  int bits() const { return static_cast<int>(params_(0)); }
  Tensor<double, 2> matrix(const char* what) const { return file_.read<double, 2>(name_ + what); }

  void compare(const std::string& what, double value, Tolerance tolerance = kClose) {
    Tensor<double, 1> got({1});
    got(0) = value;
    c_.compare(what, got, file_.read<double, 1>(name_ + what), tolerance);
  }
  void check(const std::string& of, const AffineGrid<double>& grid) {
    compare("." + of + "_scale", grid.scale);
    c_.require(of + "_zero", grid.zero == scalar<std::int32_t>(file_, name_ + "." + of + "_zero"));
  }

  AffineGrid<double> calibrate(const Tensor<float, 3>& calib) {
    MovingRange range(0.9, params_(1) == 0 ? 100 : params_(1));
    Tensor<double, 2> path({calib.extent(0), 2});
    for (Index b = 0; b < calib.extent(0); ++b) {
      const auto batch = static_cast<std::size_t>(calib.extent(1) * calib.extent(2));
      range.observe(calib.span().subspan(static_cast<std::size_t>(b) * batch, batch));
      path(b, 0) = range.range().low;
      path(b, 1) = range.range().high;
    }
    c_.compare("traj_min_max", path, matrix(".traj_min_max"), kClose);
    return activation_grid(range.range(), bits());
  }

  template <class Code>
  Tensor<Code, 2> check_codes(const char* what, const AffineGrid<double>& grid,
                              View<const double, 2> x) {
    Tensor<std::int32_t, 2> codes(x.shape());
    Tensor<Code, 2> bytes(x.shape());
    for (Index r = 0; r < x.extent(0); ++r)
      for (Index k = 0; k < x.extent(1); ++k) {
        codes(r, k) = grid.encode(x(r, k));
        bytes(r, k) = static_cast<Code>(codes(r, k));
      }
    compare_integers(c_, what, codes, file_.read<std::int32_t, 2>(name_ + what));
    return bytes;
  }

  void check_sums(const Tensor<std::uint8_t, 2>& x, const Tensor<std::int8_t, 2>& w,
                  std::int32_t zero) {
    Tensor<std::int32_t, 2> acc({x.extent(0), w.extent(0)});
    Tensor<std::int32_t, 1> zeros({1});
    zeros(0) = zero;
    gemm_int8(x, Grids{{}, zeros.view()}, PackedInt8<>(w.view().transpose(0, 1)), Grids{},
              acc.view());
    compare_integers(c_, "acc", acc, file_.read<std::int32_t, 2>(name_ + ".acc"));
  }

  Tensor<double, 2> simulated(const AffineGrid<double>& grid, View<const double, 2> x) {
    Tensor<double, 2> out(x.shape());
    for (Index r = 0; r < x.extent(0); ++r)
      for (Index k = 0; k < x.extent(1); ++k) out(r, k) = x(r, k);
    round_trip(grid, out.view());
    return out;
  }

  void check_integer_path(const AffineGrid<double>& input, const AffineGrid<double>& weights,
                          View<const double, 2> batch) {
    if (bits() > 8 || weights.codes.low == 0) return;
    const auto w = file_.read<float, 2>(name_ + ".w");
    const auto bias = file_.read<float, 1>(name_ + ".bias");
    Tensor<float, 2> x(batch.shape());
    for (Index r = 0; r < x.extent(0); ++r)
      for (Index k = 0; k < x.extent(1); ++k) x(r, k) = static_cast<float>(batch(r, k));
    auto y = unwritten<float, 2>({x.extent(0), w.extent(0)});
    w8a8_operator(w, bias, weights, input).apply(x.view(), y.view());
    c_.compare("y by integers", y, matrix(".y"), kClose);
  }

  Case& c_;
  const SafetensorsFile& file_;
  std::string name_;
  Tensor<double, 1> params_;
};

void run_w8a8(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { W8A8Case(c, file, name).run(); });
}

constexpr Mechanism kMechanisms[] = {{"quant/w8a8_sim", run_w8a8}};

}  // namespace

std::span<const Mechanism> quant_w8a8_mechanisms() { return kMechanisms; }

}  // namespace golden
