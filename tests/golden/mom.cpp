#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/delta/memory_route.hpp>
#include <weft/layer/causal_conv1d.hpp>
#include <weft/layer/norm.hpp>

// recurrent/mom

namespace golden {
namespace {

using namespace weft;

/// One layer of memories, with or without a memory that all tokens share.
template <class T>
class Mixture {
 public:
  Mixture(Case& c, const SafetensorsFile& file, std::string name)
      : c_(c),
        file_(file),
        name_(std::move(name)),
        x_(file.read<T, 3>(name_ + ".x")),
        heads_(number("H")),
        dk_(number("dk")),
        dv_(number("dv")) {}

  void run() {
    const Index topk = number("topk"), M = number("M"), B = x_.extent(0), N = x_.extent(1);
    const MemoryRoute route(project(file_, x_, name_ + ".W.gate", ""), topk);
    compare_routing(route, topk);

    Tensor<T, 2> xs({route.entries(), x_.extent(2)});
    route.gather(x_, xs);
    Tensor<T, 2> mixed({route.entries(), heads_ * dv_});
    std::vector<Tensor<T, 4>> states;
    for (Index m = 0; m < M; ++m) states.push_back(run_memory(route, m, xs, mixed));

    Tensor<T, 3> out({B, N, heads_ * dv_});
    route.combine(mixed, out);
    if (number("shared") == 1) {
      const MemoryRoute everyone(Tensor<T, 3>({B, N, 1}), 1);
      Tensor<T, 2> all({B * N, x_.extent(2)}), shared({B * N, heads_ * dv_});
      everyone.gather(x_, all);
      states.push_back(run_part(everyone, 0, all, shared, "shared_", -1));
      for (Index i = 0; i < out.size(); ++i) out.data()[i] += shared.data()[i];
    }
    compare_states(states);
    finish(out);
  }

 private:
  Index number(const char* key) const { return std::stol(metadata_of(file_, name_ + "." + key)); }

  void compare_routing(const MemoryRoute& route, Index topk) {
    const auto expected = file_.read<std::int32_t, 3>(name_ + ".selected");
    Tensor<T, 3> weights(expected.shape());
    bool same = true;
    for (Index b = 0; b < expected.extent(0); ++b)
      for (Index t = 0; t < expected.extent(1); ++t)
        for (Index r = 0; r < topk; ++r) {
          same = same && route.selected(b, t, r) == expected(b, t, r);
          weights(b, t, r) = static_cast<T>(route.weight(b, t, r));
        }
    c_.require("selected", same);
    c_.compare("routing_weights", weights, file_.read<double, 3>(name_ + ".routing_weights"));
  }

  Tensor<T, 4> run_memory(const MemoryRoute& route, Index m, const Tensor<T, 2>& xs,
                          Tensor<T, 2>& mixed) {
    return run_part(route, m, xs, mixed, "", m);
  }

  /// rows x W^T with the weights of memory m, or those of the shared memory (m < 0).
  Tensor<T, 2> projected(const View<const T, 2>& x, const std::string& weight, Index m) const {
    Tensor<T, 2> w;
    if (m < 0) {
      w = file_.read<T, 2>(name_ + ".W." + weight);
    } else {
      const auto all = file_.read<T, 3>(name_ + ".W." + weight);
      w = Tensor<T, 2>({all.extent(1), all.extent(2)});
      std::copy_n(all.view().pointer(m), w.size(), w.data());
    }
    Tensor<T, 2> y({x.extent(0), w.extent(0)});
    gemm(x, w.view().transpose(0, 1), y);
    return y;
  }

  /// silu of x, or of its short convolution over each sequence by itself where the case has one.
  void activate(Tensor<T, 2>& x, const char* taps, const std::vector<std::int32_t>& cu) const {
    if (number("conv") == 0) {
      for (T& value : x.span()) value /= 1 + std::exp(-value);
      return;
    }
    const CausalConv1d<T> conv(file_.read<T, 2>(name_ + ".W." + taps));
    const auto before = x.clone();
    for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
      const Index first = cu[s], n = cu[s + 1] - cu[s];
      conv.apply(unsqueeze(before.view().slice(0, first, n)),
                 unsqueeze(x.view().slice(0, first, n)), Silu{});
    }
  }

  /// The tokens of memory m of a route: their rows of `mixed`, and the states [B, H, dk, dv].
  Tensor<T, 4> run_part(const MemoryRoute& route, Index m, const Tensor<T, 2>& xs,
                        Tensor<T, 2>& mixed, const std::string& prefix, Index weights) {
    const MemoryRoute::Span span = route.tokens_of(m);
    const Index first = span.first, count = span.count;
    const View<const T, 2> x = xs.view().slice(0, first, count);
    const Index B = x_.extent(0);
    std::vector<std::int32_t> cu;
    for (Index b = 0; b <= B; ++b)
      cu.push_back(route.sequences()(m * B + b) - static_cast<std::int32_t>(first));
    auto q = projected(x, "q", -1), k = projected(x, prefix + "k", weights);
    auto v = projected(x, prefix + "v", weights), beta = projected(x, prefix + "b", weights);
    auto decay = projected(x, prefix + "a", weights);
    activate(q, "cq", cu);
    activate(k, "ck", cu);
    activate(v, "cv", cu);
    const auto gates = [&](Tensor<T, 2>& g) { return unsqueeze(g.view()).transpose(1, 2); };
    sigmoid_gate(gates(beta), gates(beta));
    softplus_gate(gates(decay), file_.read<T, 1>(name_ + ".W.A_log"),
                  file_.read<T, 1>(name_ + ".W.dt_bias"), gates(decay));
    const auto rows = [&](const View<T, 2>& y, Index dim) {
      return View<T, 3>(y.data(), {count, heads_, dim}, {y.stride(0), dim, 1});
    };
    const auto mixer = gated_delta_net(gates(decay), gates(beta));
    auto state = make_state<T>(mixer, {B, heads_, dk_, dv_});
    prefill_ragged(mixer, state, rows(q, dk_), rows(k, dk_), rows(v, dv_), cu,
                   rows(mixed.view().slice(0, first, count), dv_));
    return std::move(state.s);
  }

  void compare_states(const std::vector<Tensor<T, 4>>& states) {
    const auto expected = file_.read<double, 5>(name_ + ".final_states");
    Tensor<T, 5> got(expected.shape());
    for (Index b = 0; b < expected.extent(0); ++b)
      for (std::size_t m = 0; m < states.size(); ++m)
        std::copy_n(states[m].view().pointer(b), heads_ * dk_ * dv_,
                    got.view().pointer(b, static_cast<Index>(m)));
    c_.compare("final_states", got, expected);
  }

  void finish(Tensor<T, 3>& out) {
    const auto expected = file_.read<double, 4>(name_ + ".mixed_o");
    Tensor<T, 4> core(expected.shape());
    std::copy_n(out.data(), out.size(), core.data());
    c_.compare("mixed_o", core, expected);
    const auto of_heads = as_heads(out.view(), heads_);
    const auto weight = file_.read<T, 1>(name_ + ".W.norm");
    normalize(RmsNorm<T>{weight.view(), T(1e-5)}, of_heads, of_heads);
    const auto gate = project(file_, x_, name_ + ".W.g", "");
    for (Index i = 0; i < out.size(); ++i) {
      const T g = gate.data()[i];
      out.data()[i] *= g / (1 + std::exp(-g));
    }
    c_.compare("out", project(file_, out, name_ + ".W.o", ""),
               file_.read<double, 3>(name_ + ".out"));
  }

  Case& c_;
  const SafetensorsFile& file_;
  std::string name_;
  Tensor<T, 3> x_;
  Index heads_, dk_, dv_;
};

void run_mom(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    Mixture<decltype(t)>(c, file, name).run();
  });
}

constexpr Mechanism kMechanisms[] = {{"recurrent/mom", run_mom}};

}  // namespace

std::span<const Mechanism> mom_mechanisms() { return kMechanisms; }

}  // namespace golden
