#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/weight_factor.hpp>
#include <weft/position/alibi.hpp>
#include <weft/position/relative_bias.hpp>
#include <weft/position/rope.hpp>
#include <weft/position/urpe_buckets.hpp>

// softmax/alibi, softmax/t5_bias, softmax/urpe, softmax/rope

namespace golden {
namespace {

using namespace weft;

// --- ALiBi

template <class T>
void run_alibi_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto slopes = alibi_slopes<T>(file.info(name + ".slopes").shape[0]);
  c.compare("slopes", slopes, file.read<double, 1>(name + ".slopes"));
  const Window mask{-1, is_causal(file, name) ? 0 : -1};
  check_forward(c, file, name, Softmax{mask, Alibi<T>(slopes.view())}, Inputs<T>(file, name));
}

void run_alibi(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_alibi_case<decltype(type)>(c, file, name);
  });
  for (const std::string& tensor : file.names()) {
    if (tensor.rfind("slopes_", 0) != 0) continue;
    report.run(tensor, [&](Case& c) {
      const auto expected = file.read<double, 1>(tensor);
      c.compare("slopes", alibi_slopes<double>(expected.extent(0)), expected);
    });
  }
}

// --- T5

/// The decoder's buckets look back only; its attention is causal.
bool is_decoder(const std::string& name) { return name.rfind("dec", 0) == 0; }

template <class T>
void run_t5_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto table = file.read<T, 2>(name + ".table");
  const auto buckets = file.read<std::int32_t, 2>(name + ".bucket");
  const Index queries = buckets.extent(0), keys = buckets.extent(1);
  const RelativeBuckets rule{table.extent(0), 128, !is_decoder(name)};
  for (Index i = 0; i < queries; ++i) {
    for (Index j = 0; j < keys; ++j) {
      c.require("bucket", relative_bucket(rule, j - (i + keys - queries)) == buckets(i, j));
    }
  }
  Tensor<T, 2> bias({table.extent(1), queries + keys - 1});
  relative_bias(rule, table, 1 - keys, bias);
  const Window mask{-1, is_decoder(name) ? 0 : -1};
  const RelativeBias<T> score{bias.view(), keys - 1};
  check_forward(c, file, name, Softmax{mask, score, PlainSoftmax{}, 1.0}, Inputs<T>(file, name));
}

/// Tensors buckets_bid1_32_128: bidirectional or not, number of buckets, largest distance.
void run_buckets(const SafetensorsFile& file, const std::string& tensor, Case& c) {
  int bidirectional = 0, count = 0, distance = 0;
  const int fields =
      std::sscanf(tensor.c_str(), "buckets_bid%d_%d_%d", &bidirectional, &count, &distance);
  c.require("the name tells the rule", fields == 3);
  const RelativeBuckets rule{count, distance, bidirectional != 0};
  const auto rel = file.read<std::int64_t, 1>("rel");
  const auto expected = file.read<std::int64_t, 1>(tensor);
  for (Index i = 0; i < rel.size(); ++i) {
    c.require("bucket of " + std::to_string(rel(i)), relative_bucket(rule, rel(i)) == expected(i));
  }
}

void run_t5(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_t5_case<decltype(type)>(c, file, name);
  });
  for (const std::string& tensor : file.names()) {
    if (tensor.rfind("buckets_", 0) != 0) continue;
    report.run(tensor, [&](Case& c) { run_buckets(file, tensor, c); });
  }
}

// --- URPE

/// The rule of the file's tables; `count` of them and the largest distance differ by case.
UrpeBuckets urpe_rule(Index count) { return {count, 128, 256}; }

template <class T>
void run_urpe_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto bucket = file.read<std::int32_t, 2>(name + ".bucket");
  const auto bias_table = file.read<T, 2>(name + ".B_table");
  const auto factor_table = file.read<T, 2>(name + ".C_table");
  const UrpeBuckets rule = urpe_rule(bias_table.extent(0) - 1);
  const Index N = in.q.extent(2), M = in.k.extent(2);
  for (Index i = 0; i < N; ++i)
    for (Index j = 0; j < M; ++j) c.require("bucket", relative_bucket(rule, j - i) == bucket(i, j));
  Tensor<T, 2> bias({bias_table.extent(1), N + M - 1}), factor(bias.shape());
  relative_bias(rule, bias_table, 1 - M, bias);
  relative_bias(rule, factor_table, 1 - M, factor);
  const Window mask{-1, is_causal(file, name) ? 0 : -1};
  const Chain score{RelativeBias<T>(bias.view(), M - 1),
                    WeightFactor{RelativeFactor<T>(factor.view(), M - 1)}};
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), N, in.v.extent(3)});
  forward(Softmax{mask, score}, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

/// One row or column of the file's table of buckets: distances of one sign.
void run_urpe_buckets(const SafetensorsFile& file, Report& report, const char* tensor, Index sign) {
  report.run(tensor, [&](Case& c) {
    const auto expected = file.read<std::int32_t, 1>(tensor);
    for (Index d = 0; d < expected.extent(0); ++d)
      c.require("bucket of " + std::to_string(sign * d),
                relative_bucket(urpe_rule(32), sign * d) == expected(d));
  });
}

void run_urpe(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_urpe_case<decltype(type)>(c, file, name);
  });
  run_urpe_buckets(file, report, "bucket_row0_L256_nb32_md128", 1);
  run_urpe_buckets(file, report, "bucket_col0_L256_nb32_md128", -1);
}

// --- RoPE

/// The number behind a key in a description: "s=4", "base1e4" and "base 5e5" all count.
double number_after(const std::string& text, const std::string& key, double otherwise) {
  const std::size_t at = (" " + text).find(" " + key);
  if (at == std::string::npos) return otherwise;
  const std::size_t digits = text.find_first_of("0123456789.", at + key.size());
  return digits == std::string::npos ? otherwise : std::stod(text.substr(digits));
}

/// The frequencies that weft computes for a described case; the kind of scaling is in its name.
RopeFrequencies described_frequencies(const std::string& kind, const std::string& text,
                                      Index rotary) {
  const double base = number_after(text, "base", 1e4);
  const double factor = number_after(text, "s=", 1), original = number_after(text, "L0=", 2048);
  if (kind == "linear") return rope_frequencies(rotary, base, RopeLinear{factor});
  if (kind == "ntk") return rope_frequencies(rotary, base, RopeNtk{factor});
  if (kind == "yarn") return rope_frequencies(rotary, base, RopeYarn{factor, original});
  if (kind == "ntk_by_parts") {
    return rope_frequencies(rotary, base, RopeNtkByParts{factor, original});
  }
  if (kind == "llama3") {
    return rope_frequencies(
        rotary, base,
        RopeLlama3{factor, original, number_after(text, "low", 1), number_after(text, "high", 4)});
  }
  return rope_frequencies(rotary, base);
}

void check_frequencies(Case& c, const RopeFrequencies& got, const RopeFrequencies& expected) {
  Tensor<double, 1> a({std::ssize(got.radians)}), b({std::ssize(expected.radians)});
  std::copy(got.radians.begin(), got.radians.end(), a.data());
  std::copy(expected.radians.begin(), expected.radians.end(), b.data());
  c.compare("frequencies", a, b);
  c.require("magnitude", std::abs(got.magnitude - expected.magnitude) < 1e-12);
}

template <class T>
void run_rope_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 4>(name + ".x");
  const auto positions = file.read<double, 1>(name + ".pos");
  const auto radians = file.read<double, 1>(name + ".inv_freq");
  RopeFrequencies frequencies{{radians.span().begin(), radians.span().end()},
                              file.read<double, 1>(name + ".mscale")(0)};
  const std::string text = described(metadata_of(file, "dev_cases"), name);
  if (!text.empty()) {
    check_frequencies(c, described_frequencies(name, text, frequencies.rotary()), frequencies);
  }
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half}) {
    const RopeTable<T> table(frequencies, layout, positions.view());
    auto out = unwritten<T, 4>(x.shape());
    apply_rope(table, x, out, 0);
    const char* kind = layout == RopeLayout::half ? ".out_half" : ".out_interleaved";
    c.compare(kind + 1, out, file.read<double, 4>(name + kind));
  }
}

void run_rope(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_rope_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/alibi", run_alibi},
    {"softmax/t5_bias", run_t5},
    {"softmax/urpe", run_urpe},
    {"softmax/rope", run_rope},
};

}  // namespace

std::span<const Mechanism> position_mechanisms() { return kMechanisms; }

}  // namespace golden
