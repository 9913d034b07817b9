#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>

// softmax/clipped_softmax, softmax/power_softmax, softmax/pattention, softmax/topk_hard_attention,
// softmax/kmax_attention, softmax/categorical_attention

namespace golden {
namespace {

using namespace weft;

/// A tensor of rank 2 or more as rows of one head, [1, 1, N, M].
template <class T>
Tensor<T, 4> rows_of(const SafetensorsFile& file, const std::string& tensor) {
  const auto reshape = [](const auto& x) {
    const Index columns = x.shape().back();
    Tensor<T, 4> rows({1, 1, x.size() / columns, columns});
    std::copy_n(x.data(), x.size(), rows.data());
    return rows;
  };
  return file.info(tensor).shape.size() == 2 ? reshape(file.read<T, 2>(tensor))
                                             : reshape(file.read<T, 3>(tensor));
}

template <class T>
Tensor<T, 4> identity(Index n) {
  Tensor<T, 4> out({1, 1, n, n});
  for (Index i = 0; i < n; ++i) out(0, 0, i, i) = 1;
  return out;
}

/// Integers as bytes of a mask.
template <class T, std::size_t Rank>
Tensor<std::uint8_t, Rank> bytes_of(const Tensor<T, Rank>& numbers) {
  Tensor<std::uint8_t, Rank> out(numbers.shape());
  for (Index i = 0; i < out.size(); ++i) out.data()[i] = numbers.data()[i] != 0;
  return out;
}

/// The weights that a normalizer gives to logits x [1, 1, N, M]: attention of zeros with the bias
/// x, over values that name their keys.
template <class T, class M, class Z>
Tensor<T, 4> weights_of(const Tensor<T, 4>& x, const M& mask, const Z& normalizer) {
  const Index rows = x.extent(2), keys = x.extent(3);
  auto out = unwritten<T, 4>({1, 1, rows, keys});
  forward(Softmax{mask, AdditiveBias<T>(x), normalizer}, Tensor<T, 4>({1, 1, rows, 1}),
          Tensor<T, 4>({1, 1, keys, 1}), identity<T>(keys), out);
  return out;
}

template <class T>
T number(const SafetensorsFile& file, const std::string& tensor) {
  return file.read<T, 1>(tensor)(0);
}

// --- Clipped softmax

template <class T>
void run_clipped_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const ClippedSoftmax clipped{number<double>(file, name + ".gamma"),
                               number<double>(file, name + ".eta")};
  if (!file.contains(name + ".q")) {
    return c.compare("probs", weights_of(rows_of<T>(file, name + ".x"), NoMask{}, clipped),
                     rows_of<double>(file, name + ".probs"));
  }
  const Inputs<T> in(file, name);
  const Softmax mixer{Causal{Align::bottom_right}, NoScore{}, clipped};
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)});
  forward(mixer, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));

  // The weights: every head over values that name their keys.
  const Index keys = in.k.extent(2);
  const Tensor<T, 4> one_hot = identity<T>(keys);
  const auto names = one_hot.view().broadcast({in.k.extent(0), in.k.extent(1), keys, keys});
  auto weights = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), keys});
  forward(mixer, in.q, in.k, names, weights);
  c.compare("weights", weights, file.read<double, 4>(name + ".weights"));
}

// --- Power-Softmax

template <int P, class T>
void compare_power(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto flags = file.read<std::int32_t, 1>(name + ".flags");
  const PowerDivision division{number<double>(file, name + ".eps"), flags(0) != 0};
  const Tensor<T, 4> x = rows_of<T>(file, name + ".x");
  const auto bytes = bytes_of(rows_of<std::int32_t>(file, name + ".mask"));
  const BoolMask mask(bytes.view());
  const double delta = number<double>(file, name + ".delta");
  const auto got = flags(1) != 0 ? weights_of(x, mask, StablePowerSoftmax<P>{division, delta})
                                 : weights_of(x, mask, PowerSoftmax<P>{division});
  c.compare("probs", got, rows_of<double>(file, name + ".probs"));
}

/// Reciprocals after 3, 7 and 12 iterations.
template <class T>
void compare_goldschmidt(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto b = file.read<T, 1>(name + ".b");
  const T start = number<T>(file, name + ".scale");
  for (const int iterations : {3, 7, 12}) {
    auto got = unwritten<T, 1>({b.size()});
    for (Index i = 0; i < b.size(); ++i) got(i) = goldschmidt_reciprocal(b(i), start, iterations);
    const std::string what = "recip_it" + std::to_string(iterations);
    c.compare(what, got, file.read<double, 1>(name + "." + what));
  }
}

template <class T>
void run_power_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  if (!file.contains(name + ".p")) return compare_goldschmidt<T>(c, file, name);
  switch (number<std::int32_t>(file, name + ".p")) {
    case 2: return compare_power<2, T>(c, file, name);
    case 4: return compare_power<4, T>(c, file, name);
    case 6: return compare_power<6, T>(c, file, name);
    default: c.fail("a power that this program was not built for");
  }
}

// --- Pattention

template <class T, class M, class Z>
void compare_pattention(Case& c, const SafetensorsFile& file, const std::string& name,
                        const M& mask, const Z& normalizer) {
  const Tensor<T, 4> x = rows_of<T>(file, name + ".x");
  const Tensor<T, 4> values = rows_of<T>(file, name + ".value_tokens");
  auto out = unwritten<T, 4>({1, 1, x.extent(2), values.extent(3)});
  forward(Softmax{mask, NoScore{}, normalizer, 1.0}, x, rows_of<T>(file, name + ".key_tokens"),
          values, out);
  c.compare("out", out, rows_of<double>(file, name + ".out"));
}

template <class T>
void run_pattention_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto run = [&](const auto& mask) {
    if (name.starts_with("l2_norm_gelu"))
      return compare_pattention<T>(c, file, name, mask, NormalizedGelu{});
    if (name.starts_with("gelu_l2_norm"))
      return compare_pattention<T>(c, file, name, mask, GeluNormalized{});
    c.require("the name tells the rule", name.starts_with("softmax"));
    compare_pattention<T>(c, file, name, mask, ScaledSoftmax{});
  };
  if (!file.contains(name + ".mask")) return run(NoMask{});
  const auto bytes = bytes_of(rows_of<std::int32_t>(file, name + ".mask"));
  run(BoolMask(bytes.view()));
}

// --- The largest logits

template <class T>
void run_top_k_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto bytes = bytes_of(file.read<std::int32_t, 4>(name + ".mask"));
  const TopK top{number<std::int32_t>(file, name + ".K")};
  check_forward(c, file, name, Softmax{BoolMask(bytes.view()), NoScore{}, top}, in);
}

/// Logits [B, L, M] as the products of centers that name themselves with pixels.
template <class T>
void run_kmeans_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto logits = file.read<T, 3>(name + ".logits");
  const auto values = file.read<T, 3>(name + ".v");
  const Index B = logits.extent(0), L = logits.extent(1), M = logits.extent(2);
  const Tensor<T, 4> one_hot = identity<T>(L);
  const auto centers = one_hot.view().broadcast({B, 1, L, L});
  Tensor<T, 4> pixels({B, 1, M, L});
  for (Index b = 0; b < B; ++b)
    for (Index m = 0; m < M; ++m)
      for (Index l = 0; l < L; ++l) pixels(b, 0, m, l) = logits(b, l, m);
  auto update = unwritten<T, 3>({B, L, values.extent(2)});
  Tensor<std::int32_t, 2> assigned({B, M});
  const auto one_head = [](auto& x) { return unsqueeze(x.view()).transpose(0, 1); };
  forward(KMeans{NoMask{}, NoScore{}, 1.0}, centers, pixels, one_head(values), one_head(update),
          one_head(assigned));
  c.compare("update", update, file.read<double, 3>(name + ".update"));

  const auto expected = file.read<std::int32_t, 2>(name + ".assign");
  c.require("assign", std::ranges::equal(assigned.span(), expected.span()));
  auto counts = file.read<std::int32_t, 2>(name + ".counts");
  for (Index b = 0; b < B; ++b)
    for (Index m = 0; m < M; ++m) --counts(b, assigned(b, m));
  c.require("counts", std::ranges::all_of(counts.span(), [](int n) { return n == 0; }));
  auto centers_out = file.read<T, 3>(name + ".centers");
  for (Index i = 0; i < update.size(); ++i) centers_out.data()[i] += update.data()[i];
  c.compare("centers_out", centers_out, file.read<double, 3>(name + ".centers_out"));
}

void run_categorical_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto ints = [&](const char* tensor) {
    return file.read<std::int32_t, 1>(name + "." + tensor);
  };
  const auto tokens = file.read<std::int32_t, 3>(name + ".tokens");
  const auto predicate = file.read<std::int32_t, 2>(name + ".predicate");
  const auto query = ints("query_var"), key = ints("key_var"), value = ints("val_var");
  const auto bytes = bytes_of(file.read<std::int32_t, 3>(name + ".mask"));
  const Index B = tokens.extent(0), N = tokens.extent(1), H = predicate.extent(0);
  const Index context = name.starts_with("fixed") ? N : 0;
  Tensor<std::int32_t, 3> out({B, N, H}), attended({B, H, N});
  forward(
      CategoricalAttention<BoolMask>{query.view(), key.view(), value.view(), predicate.view(),
                                     context, BoolMask(unsqueeze(bytes.view()).transpose(0, 1))},
      tokens, out, attended);
  const auto equals = [&](const auto& got, const char* tensor) {
    const auto expected = file.read<std::int32_t, 3>(name + "." + tensor);
    c.require(tensor, std::ranges::equal(got.span(), expected.span()));
  };
  equals(attended, "attn_index");
  equals(out, "out_tokens");
}

template <auto run_double, auto run_float>
void run_both(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      run_double(c, file, name);
      run_float(c, file, name);
    });
  }
}

void run_categorical(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_categorical_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/clipped_softmax", run_both<run_clipped_case<double>, run_clipped_case<float>>},
    {"softmax/power_softmax", run_both<run_power_case<double>, run_power_case<float>>},
    {"softmax/pattention", run_both<run_pattention_case<double>, run_pattention_case<float>>},
    {"softmax/topk_hard_attention", run_both<run_top_k_case<double>, run_top_k_case<float>>},
    {"softmax/kmax_attention", run_both<run_kmeans_case<double>, run_kmeans_case<float>>},
    {"softmax/categorical_attention", run_categorical},
};

}  // namespace

std::span<const Mechanism> normalizer_mechanisms() { return kMechanisms; }

}  // namespace golden
