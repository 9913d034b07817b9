#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/flow.hpp>

// linear/flow_attention

namespace golden {
namespace {

using namespace weft;

template <class T>
void run_flow_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const bool causal = file.read<std::int32_t, 1>(name + ".causal")(0) != 0;
  const FlowAttention mixer{causal ? Order::causal : Order::bidirectional,
                            double{file.read<float, 1>(name + ".clamp")(0)}};
  const std::array<Index, 4> shape{in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)};
  auto out = unwritten<T, 4>(shape);
  forward(mixer, in.q, in.k, in.v, out);
  const auto expected = file.read<double, 4>(name + ".out");
  c.compare("out", out, expected);
  if (!causal) return;
  auto state = make_state<T>(mixer, {shape[0], shape[1], in.q.extent(3), shape[3]});
  for (Index t = 0; t < shape[2]; ++t)
    step(mixer, state, in.q.view().select(2, t), in.k.view().select(2, t), in.v.view().select(2, t),
         out.view().select(2, t));
  c.compare("out by steps", out, expected);
}

void run_flow(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_flow_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {{"linear/flow_attention", run_flow}};

}  // namespace

std::span<const Mechanism> linear_flow_mechanisms() { return kMechanisms; }

}  // namespace golden
