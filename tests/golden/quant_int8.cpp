#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/int8_gemm.hpp>
#include <weft/quant/llm_int8.hpp>

// quant/int8_gemm, quant/llm_int8

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

template <class B>
Tensor<B, 2> read_bytes(const SafetensorsFile& file, const std::string& name) {
  const auto wide = file.read<std::int32_t, 2>(name);
  Tensor<B, 2> out(wide.shape());
  std::copy_n(wide.data(), wide.size(), out.data());
  return out;
}

template <std::size_t Rank>
bool equal(const Tensor<std::int32_t, Rank>& a, const Tensor<std::int32_t, Rank>& b) {
  return a.shape() == b.shape() && std::equal(a.data(), a.data() + a.size(), b.data());
}

void run_int8_gemm(const SafetensorsFile& file, Report& report) {
  report.run("", [&](Case& c) {
    const auto s8 = read_bytes<std::int8_t>(file, "a_s8"),
               b = read_bytes<std::int8_t>(file, "b_s8");
    const auto u8 = read_bytes<std::uint8_t>(file, "a_u8");
    const auto za = file.read<std::int32_t, 1>("za"), zb = file.read<std::int32_t, 1>("zb");
    const auto sa = file.read<float, 1>("sa"), sb = file.read<float, 1>("sb");
    const auto bias = file.read<float, 1>("bias");
    const PackedInt8<> packed(b);
    Tensor<std::int32_t, 2> sums({s8.extent(0), b.extent(1)});
    const auto check = [&](const std::string& name, const auto& a, const Grids& left,
                           const Grids& right) {
      gemm_int8(a, left, packed, right, sums);
      c.require(name, equal(sums, file.read<std::int32_t, 2>(name)));
    };
    check("s8s8.acc", s8, {}, {});
    check("u8s8.acc_raw", u8, {}, {});
    check("u8s8.acc_za", u8, {{}, za}, {});
    check("u8s8.acc_za_zb", u8, {{}, za}, {{}, zb});
    auto y = unwritten<float, 2>(sums.shape());
    gemm_int8(s8, {sa, {}}, packed, {sb, {}}, y, Bias{bias.view()});
    c.compare("s8s8.y", y, file.read<double, 2>("s8s8.y"));
    gemm_int8(u8, {sa, za}, packed, {sb, zb}, y, Bias{bias.view()});
    c.compare("u8s8.y", y, file.read<double, 2>("u8s8.y"));
    const AffineGrid<float> grid{file.read<float, 1>("u8s8.requant_u8_scale")(0),
                                 file.read<std::int32_t, 1>("u8s8.requant_zero")(0),
                                 unsigned_codes(8)};
    Tensor<std::int32_t, 2> codes(y.shape());
    for (Index i = 0; i < y.size(); ++i) codes.data()[i] = grid.encode(y.data()[i]);
    c.require("requant_codes", equal(codes, file.read<std::int32_t, 2>("u8s8.requant_codes")));
  });
}

void run_llm_int8_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<float, 2>(name + ".x"), w = file.read<float, 2>(name + ".w");
  const auto bias = file.read<float, 1>(name + ".bias");
  const auto threshold = static_cast<float>(file.read<double, 1>(name + ".threshold")(0));
  const LlmInt8Operator<> op(w, bias, threshold);
  const auto columns = op.outliers(x.view());
  const auto expected = file.read<std::int32_t, 1>(name + ".outlier_cols");
  c.require("outlier_cols", std::equal(columns.begin(), columns.end(), expected.data(),
                                       expected.data() + expected.size()));
  const auto codes = quantize(w, Scheme{});
  const auto cb = file.read<std::int32_t, 2>(name + ".CB");
  c.require("CB", std::equal(cb.data(), cb.data() + cb.size(), codes.codes.data()));
  auto y = unwritten<float, 2>({x.extent(0), w.extent(0)});
  op.apply(x.view(), y.view());
  c.compare("y", y, file.read<double, 2>(name + ".y"));
}

void run_llm_int8(const SafetensorsFile& file, Report& report) {
  for (const auto& name : case_names(file))
    report.run(name, [&](Case& c) { run_llm_int8_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {{"quant/int8_gemm", run_int8_gemm},
                                     {"quant/llm_int8", run_llm_int8}};

}  // namespace

std::span<const Mechanism> quant_int8_mechanisms() { return kMechanisms; }

}  // namespace golden
