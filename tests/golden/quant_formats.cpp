#include "golden/codes.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/core/dtype.hpp>
#include <weft/quant/float_format.hpp>
#include <weft/quant/ggml_blocks.hpp>
#include <weft/quant/mx.hpp>
#include <weft/quant/nf4.hpp>
#include <weft/quant/real_bias_format.hpp>

#include <cmath>

// quant/float_formats, quant/fp_real_bias, quant/mx, quant/nf4, quant/ggml_blocks

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

FloatFormat format_named(const std::string& name) {
  if (name == "e4m3") return kE4M3;
  if (name == "e5m2") return kE5M2;
  if (name == "e3m2") return kE3M2;
  if (name == "e2m3") return kE2M3;
  if (name == "e2m1") return kE2M1;
  fail(name + " is no format of OCP");
}

// --- Element formats: codes of x, and tables of all values

/// Values that are NaN must be so in both, which Case::compare does not know.
void compare_table(Case& c, const SafetensorsFile& file, const std::string& name,
                   std::vector<double> got) {
  const auto expected = read_flat<double>(file, name);
  bool same = got.size() == expected.size();
  for (std::size_t i = 0; same && i < got.size(); ++i)
    same = got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i]));
  c.require(name, same);
}

std::vector<double> table_of(const std::string& name) {
  std::vector<double> table;
  if (name == "nf4" || name == "bnb_fp4") {
    const auto& values = values_of(name == "nf4" ? Book16::nf4 : Book16::fp4);
    table.assign(values.begin(), values.end());
  } else if (name == "e8m0") {
    for (int byte = 0; byte < 256; ++byte)
      table.push_back(decode_e8m0(static_cast<std::uint8_t>(byte)));
  } else {
    const FloatFormat format = format_named(name);
    for (std::uint32_t code = 0; code < 1u << format.bits(); ++code)
      table.push_back(format.decode(code));
  }
  return table;
}

/// In files a NaN that a format cannot hold is -1.
std::vector<int> element_codes(const std::vector<float>& x, const std::string& name) {
  std::string overflow = name;
  const std::string format_name = cut(overflow, ".");
  const FloatFormat format = format_named(format_name);
  const auto policy = overflow == "nosat" ? Overflow::special : Overflow::saturate;
  std::vector<int> codes;
  for (const float v : x) {
    const bool none = std::isnan(v) && format.specials == Specials::none;
    codes.push_back(none ? -1 : static_cast<int>(format.encode(v, policy)));
  }
  return codes;
}

/// The 16-bit types of core. Any NaN of fp16 will do.
template <class S>
void check_16_bits(Case& c, const SafetensorsFile& file, const std::string& name,
                   const std::vector<float>& x) {
  auto codes = read_flat<std::int32_t>(file, name);
  for (std::size_t i = 0; i < std::min(x.size(), codes.size()); ++i) {
    const S own(x[i]), expected = S::from_bits(static_cast<std::uint16_t>(codes[i]));
    const bool nan = std::isnan(float{own}) && std::isnan(float{expected});
    if (!nan || std::same_as<S, bf16>) codes[i] = own.bits;
  }
  require_codes(c, file, name, codes);
}

void run_float_formats(const SafetensorsFile& file, Report& report) {
  const auto x = read_flat<float>(file, "x");
  for (const std::string& name : file.names()) {
    if (name == "x") continue;
    report.run(name, [&](Case& c) {
      if (name == "fp16") return check_16_bits<fp16>(c, file, name, x);
      if (name == "bf16") return check_16_bits<bf16>(c, file, name, x);
      if (!name.starts_with("table.")) return require_codes(c, file, name, element_codes(x, name));
      const std::string table = name.substr(6);
      const auto got = table_of(table);
      // The values of fp4 are quotients, which the file has in double.
      if (table == "bnb_fp4")
        compare_flat(c, file, name, std::vector<float>(got.begin(), got.end()));
      else
        compare_table(c, file, name, got);
    });
  }
}

// --- A real exponent bias for every row

/// "e2m1" and the like.
RealBiasFormat real_bias_format(const std::string& name) {
  const std::size_t m = name.find('m');
  weft::require(name.starts_with("e") && m != std::string::npos, name, " is no name of a format");
  return {std::stoi(name.substr(1, m - 1)), std::stoi(name.substr(m + 1))};
}

void run_real_bias_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const RealBiasFormat format = real_bias_format(name);
  const auto x = file.read<float, 2>(name + ".x");
  const auto bias = read_flat<double>(file, name + ".bias_row");
  std::vector<double> dq, largest, fitting;
  std::vector<int> codes;
  for (Index r = 0; r < x.extent(0); ++r) {
    const RealBiasGrid grid(format, bias[static_cast<std::size_t>(r)]);
    double absmax = 0;
    for (Index i = 0; i < x.extent(1); ++i) {
      absmax = std::max(absmax, std::abs(double{x(r, i)}));
      codes.push_back(grid.encode(x(r, i)));
      dq.push_back(grid.round_trip(x(r, i)));
      c.require("decode", grid.decode(codes.back()) == dq.back());
    }
    largest.push_back(grid.max_value());
    fitting.push_back(min_max_bias(format, absmax));
  }
  require_codes(c, file, name + ".codes", codes);
  compare_flat(c, file, name + ".dq", dq);
  compare_flat(c, file, name + ".maxval", largest);
  compare_flat(c, file, name + ".minmax_bias", fitting);
}

void run_real_bias(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_real_bias_case(c, file, name); });
}

// --- MX

void run_mx(const SafetensorsFile& file, Report& report) {
  const auto x = file.read<float, 2>("x");
  const std::string block = metadata_of(file, "block");
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      const MxMatrix q =
          quantize_mx(x, format_named(name), block.empty() ? kMxBlock : std::stoi(block));
      require_codes(c, file, name + ".codes", q.codes.span());
      require_codes(c, file, name + ".scale_e8m0", q.scales.span());
      auto dq = unwritten<float, 2>(x.shape());
      dequantize(q, dq);
      c.compare(name + ".dq", dq, file.read<double, 2>(name + ".dq"), {0, 0});
    });
  }
}

// --- NF4 and FP4 of bitsandbytes

void run_nf4(const SafetensorsFile& file, Report& report) {
  const auto x = read_flat<float>(file, "x");
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      const auto blocks = quantize_book16(x, name == "nf4" ? Book16::nf4 : Book16::fp4,
                                          read_scalar<std::int32_t>(file, "blocksize"));
      std::vector<std::uint8_t> codes(x.size());
      unpack_nibbles(blocks.bytes, NibbleOrder::high_first, codes);
      require_codes(c, file, name + ".codes", codes);
      require_codes(c, file, name + ".packed", blocks.bytes);
      compare_flat(c, file, name + ".absmax", blocks.absmax, {0, 0});
      std::vector<float> dq(x.size());
      dequantize(blocks, dq);
      compare_flat(c, file, name + ".dq", dq, {0, 2e-7});
    });
  }
}

// --- ggml

template <GgmlBlock B>
std::vector<std::uint8_t> bytes_of(const std::vector<B>& blocks) {
  const auto* p = reinterpret_cast<const std::uint8_t*>(blocks.data());
  return {p, p + blocks.size() * sizeof(B)};
}

/// The codes as they are stored, in the order of the elements.
template <std::size_t N>
void append_codes(const std::uint8_t (&qs)[N], std::vector<int>& codes) {
  if constexpr (N == 16) {
    for (int shift : {0, 4})
      for (const int byte : qs) codes.push_back((byte >> shift) & 15);
  } else {
    for (int h = 0; h < 64; h += 32)
      for (int shift = 0; shift < 8; shift += 2)
        for (int m = 0; m < 32; ++m) codes.push_back((qs[h + m] >> shift) & 3);
  }
}
void append_codes(const std::int8_t (&qs)[32], std::vector<int>& codes) {
  codes.insert(codes.end(), std::begin(qs), std::end(qs));
}

template <GgmlBlock B>
void compare_decoded(Case& c, const SafetensorsFile& file, const std::string& name,
                     std::span<const B> blocks) {
  std::vector<float> dq(blocks.size() * static_cast<std::size_t>(B::kValues));
  decode_blocks<B>(blocks, dq);
  compare_flat(c, file, name + ".dq", dq, {0, 2e-7});
}

template <GgmlBlock B>
void run_ggml_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = read_flat<float>(file, name + ".x");
  std::vector<B> blocks(x.size() / static_cast<std::size_t>(B::kValues));
  encode_blocks<B>(x, blocks);
  require_codes(c, file, name + ".bytes", bytes_of(blocks));
  std::vector<int> codes;
  for (const B& block : blocks) append_codes(block.qs, codes);
  require_codes(c, file, name + ".codes", codes);
  compare_decoded<B>(c, file, name, blocks);
}

void run_q4_k_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto stored = read_flat<std::int32_t>(file, name + ".bytes");
  const std::vector<std::uint8_t> bytes(stored.begin(), stored.end());
  const auto blocks = blocks_in<Q4_K>(bytes);
  std::vector<int> scales_mins;
  for (const Q4_K& block : blocks)
    for (int j = 0; j < 8; ++j) {
      const auto [scale, min] = block.scale_and_min(j);
      scales_mins.insert(scales_mins.end(), {scale, min});
    }
  require_codes(c, file, name + ".scales_mins", scales_mins);
  compare_decoded<Q4_K>(c, file, name, blocks);
}

void run_ggml_blocks(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      if (name == "q4_0") return run_ggml_case<Q4_0>(c, file, name);
      if (name == "q4_1") return run_ggml_case<Q4_1>(c, file, name);
      if (name == "q8_0") return run_ggml_case<Q8_0>(c, file, name);
      if (name == "mxfp4") return run_ggml_case<Mxfp4>(c, file, name);
      if (name == "tq2_0") return run_ggml_case<Tq2_0>(c, file, name);
      if (name == "q4_K") return run_q4_k_case(c, file, name);
      c.fail("unknown block");
    });
  }
}

constexpr Mechanism kMechanisms[] = {
    {"quant/float_formats", run_float_formats},
    {"quant/fp_real_bias", run_real_bias},
    {"quant/mx", run_mx},
    {"quant/nf4", run_nf4},
    {"quant/ggml_blocks", run_ggml_blocks},
};

}  // namespace

std::span<const Mechanism> quant_format_mechanisms() { return kMechanisms; }

}  // namespace golden
