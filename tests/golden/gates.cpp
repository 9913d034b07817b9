#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/gate.hpp>
#include <weft/layer/gelu_table.hpp>

// softmax/gated_attention, softmax/edge_moe

namespace golden {
namespace {

using namespace weft;

/// Self-attention of two heads over x [B, N, C], without the projection behind it.
template <class T>
class GatedLayer {
 public:
  GatedLayer(const SafetensorsFile& file, const std::string& name)
      : file_(file), name_(name), x_(file.read<T, 3>(name + ".x")) {}

  Tensor<T, 3> run() const {
    const Tensor<T, 3> q = project("query"), k = project("key"), v = project("value");
    const Tensor<T, 3> gates = make_gates();
    auto out = unwritten<T, 3>(x_.shape());
    const auto heads = [](auto& y) { return split(y.view()); };
    forward(Softmax{NoMask{}, NoScore{}, GatedOutput{PlainSoftmax{}, gates.view()}}, heads(q),
            heads(k), heads(v), heads(out));
    return out;
  }

 private:
  static constexpr Index kHeads = 2;

  /// [B, N, C] as [B, H, N, C / H].
  template <class E>
  static View<E, 4> split(const View<E, 3>& y) {
    const Index d = y.extent(2) / kHeads;
    return {y.data(), {y.extent(0), kHeads, y.extent(1), d}, {y.stride(0), d, y.stride(1), 1}};
  }

  template <std::size_t Rank>
  Tensor<T, Rank> read(const std::string& tensor) const {
    return file_.read<T, Rank>(name_ + "." + tensor);
  }
  bool has(const std::string& tensor) const { return file_.contains(name_ + "." + tensor); }

  Tensor<T, 3> project(const std::string& part) const {
    const Tensor<T, 2> weight = read<2>(part + ".weight");
    const Tensor<T, 1> bias = read<1>(part + ".bias");
    auto y = unwritten<T, 3>(x_.shape());
    for (Index b = 0; b < x_.extent(0); ++b)
      gemm(x_.view().select(0, b), weight.view().transpose(0, 1), y.view().select(0, b),
           Bias{bias.view()});
    return y;
  }

  /// The tensors alpha.0.<tail>, alpha.1.<tail> as rows of one.
  Tensor<T, 2> of_heads(const std::string& tail) const {
    const Index size = static_cast<Index>(read_flat("alpha.0." + tail).size());
    Tensor<T, 2> out({kHeads, size});
    for (Index h = 0; h < kHeads; ++h) {
      const auto part = read_flat("alpha." + std::to_string(h) + "." + tail);
      std::copy(part.begin(), part.end(), &out(h, 0));
    }
    return out;
  }
  std::vector<T> read_flat(const std::string& tensor) const {
    const auto flat = [](const auto& x) { return std::vector<T>(x.data(), x.data() + x.size()); };
    const bool vector = file_.info(name_ + "." + tensor).shape.size() == 1;
    return vector ? flat(read<1>(tensor)) : flat(read<2>(tensor));
  }

  Tensor<T, 3> make_gates() const {
    const Index B = x_.extent(0), N = x_.extent(1);
    if (has("alpha")) {
      auto gates = unwritten<T, 3>({1, kHeads, 1});
      const Tensor<T, 1> alpha = read<1>("alpha");
      open_gates(View<const T, 3>(alpha.data(), {1, kHeads, 1}), gates);
      return gates;
    }
    auto gates = unwritten<T, 3>({B, kHeads, N});
    make_logits(gates);
    if (name_ == "per_head") {
      auto of_head = unwritten<T, 3>({B, kHeads, 1});
      open_head_gates(gates, of_head);
      return of_head;
    }
    // Fine-tuned from gates that start at 0.25.
    open_gates(gates, gates, name_ == "finetune" ? 1 / 0.25 : 1);
    return gates;
  }

  void make_logits(Tensor<T, 3>& to) const {
    const auto vector = [](const Tensor<T, 2>& x) { return x.view().select(1, 0); };
    if (has("alpha.weight")) {
      const Tensor<T, 2> weight = read<2>("alpha.weight");
      const Tensor<T, 1> bias = read<1>("alpha.bias");
      return gate_logits(FeatureGate<T>{weight.view(), bias.view()}, x_, to);
    }
    if (has("alpha.0.weight")) {
      const Tensor<T, 2> weight = of_heads("weight"), bias = of_heads("bias");
      return gate_logits(HeadGate<T>{weight.view(), vector(bias)}, x_, to);
    }
    const Tensor<T, 2> hidden = of_heads("0.weight"), hidden_bias = of_heads("0.bias");
    const Tensor<T, 2> weight = of_heads("2.weight"), bias = of_heads("2.bias");
    const Index m = hidden_bias.extent(1);
    const View<const T, 3> maps(hidden.data(), {kHeads, m, hidden.extent(1) / m});
    gate_logits(MlpGate<T>{maps, hidden_bias.view(), weight.view(), vector(bias)}, x_, to);
  }

  const SafetensorsFile& file_;
  const std::string& name_;
  Tensor<T, 3> x_;
};

void run_gated(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    c.compare("out", GatedLayer<decltype(type)>(file, name).run(),
              file.read<double, 3>(name + ".out"));
  });
}

// --- Edge-MoE: one file, one case

template <class T>
void compare_gelu_table(Case& c, const SafetensorsFile& file) {
  const auto x = file.read<T, 1>("x");
  auto got = unwritten<T, 1>({x.size()});
  for (Index i = 0; i < x.size(); ++i) got(i) = GeluTable{}(Vec<T>(x(i))).get(0);
  c.compare("gelu_lut", got, file.read<double, 1>("gelu_lut"));
  c.compare("gelu_exact", got, file.read<double, 1>("gelu_exact"), {2e-5, 2e-5});
}

/// Softmax of rows [N, M], with the maximum and the sum of each row as its log-sum-exp.
template <class T>
void compare_single_pass(Case& c, const SafetensorsFile& file) {
  const auto scores = file.read<T, 2>("scores");
  const Index N = scores.extent(0), M = scores.extent(1);
  Tensor<T, 4> keys({1, 1, M, M});
  for (Index j = 0; j < M; ++j) keys(0, 0, j, j) = 1;
  const View<const T, 4> queries(scores.data(), {1, 1, N, M});
  auto out = unwritten<T, 2>({N, M});
  auto lse = unwritten<T, 1>({N});
  forward_with_lse(Softmax{NoMask{}, NoScore{}, PlainSoftmax{}, 1.0}, queries, keys, keys,
                   View<T, 4>(out.data(), {1, 1, N, M}), View<T, 3>(lse.data(), {1, 1, N}));
  c.compare("softmax", out, file.read<double, 2>("softmax"));
  auto expected = file.read<double, 1>("row_max");
  const auto sums = file.read<double, 1>("row_sum");
  for (Index i = 0; i < N; ++i) expected(i) += std::log(sums(i));
  c.compare("lse", lse, expected);
}

void run_edge_moe(const SafetensorsFile& file, Report& report) {
  report.run("gelu", [&](Case& c) {
    const auto published = file.read<std::int32_t, 1>("table_int");
    c.require("the published table", std::ranges::equal(detail::kGeluTable, published.span()));
    compare_gelu_table<double>(c, file);
    compare_gelu_table<float>(c, file);
  });
  report.run("softmax", [&](Case& c) {
    compare_single_pass<double>(c, file);
    compare_single_pass<float>(c, file);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/gated_attention", run_gated},
    {"softmax/edge_moe", run_edge_moe},
};

}  // namespace

std::span<const Mechanism> gate_mechanisms() { return kMechanisms; }

}  // namespace golden
