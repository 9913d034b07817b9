/// flow/<variant>/...: Flow-Attention beside linear/linear_transformer of the same shape.
#include "support/linear_cases.hpp"
#include <weft/attention/flow.hpp>

namespace {

using namespace weft;

const bench::Rows rows([] {
  bench::add_linear({.name = "flow/flow_attention", .stands_for = bench::StandsFor::full},
                    FlowAttention{Order::bidirectional});
  bench::add_linear({"flow/flow_attention_causal"}, FlowAttention{Order::causal});
});

}  // namespace
